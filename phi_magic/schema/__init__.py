"""What an answer is constrained to, and the object that it becomes."""
