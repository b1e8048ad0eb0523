"""Policies: one decision each. ``verdict = f(view)``: no I/O, no clock, no memory."""
