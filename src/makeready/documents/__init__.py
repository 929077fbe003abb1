"""Document types: what is shipped, what staff bring, and how data becomes HTML by them."""
