"""The world of this machine: pods are processes, a Service is a port, an image is this Python."""
