"""TorchServe as a front end: a handler for its worker, and a server that starts and watches it."""
