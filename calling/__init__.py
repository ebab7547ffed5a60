"""A test caller: its clock, what it says, what it recorded, and pictures of it."""
