"""What the command line is made of: the client of our own HTTP API, and what a person sees while it works."""
