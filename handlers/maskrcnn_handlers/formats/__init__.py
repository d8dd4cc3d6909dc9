"""The response formats that come with the server."""
