"""Find the final answer in a response: boxes, answers behind a marker, the last value of the text."""
