"""Files of variables: reading them without the framework that wrote them, and writing them."""
