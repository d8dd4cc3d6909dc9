"""Everything between a client and the waist: wire formats, front ends, the command line."""
