"""`python -m maskrcnn_handlers` is `maskrcnn-server`."""

from maskrcnn_handlers.cli import main

if __name__ == "__main__":
    main()
