"""Whether two mathematical answers are equal: notation, exact numbers with units, relations, expressions."""
