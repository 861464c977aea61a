"""The schema that an answer follows, and the object that is made of the answer."""
