"""What people and runs leave behind: inputs of scores, contacts, plays, feedback, free text."""
