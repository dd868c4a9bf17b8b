"""Find the final answer in a response: box, answer behind a marker, last value of the text."""
