"""A campaign of hostile inputs, faults and ends against servers of this installation."""
