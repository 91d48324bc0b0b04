"""What an answer may be: schemas, regular expressions, grammars and a plugin's own rules, as masks over the tokens."""
