"""The canonical paired corpus on disk: schema, write, open, check; truth lies apart."""
