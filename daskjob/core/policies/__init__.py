"""Policies: one judgement each. ``verdict = f(view)``: no I/O, no clock, no memory."""
