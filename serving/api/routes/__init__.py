"""One module per resource; a route reads its request, asks, and answers."""
