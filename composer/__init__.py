"""Query to tokens: the ground floor, which imports none of the other packages."""
