"""What a server costs: the stages of a request, and any server under load."""
