"""What goes in and what comes out, one model per direction."""
