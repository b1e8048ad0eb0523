"""The local backend: pods are processes, a Service is a port, the image is this Python."""
