"""What keeps the mount fast: contents read ahead, given to the kernel, and forgotten in time."""
