"""The mount: requests of the kernel, answered from the view."""
