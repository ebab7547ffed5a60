"""Migrations of the site's database, in the order of their numbers; `parley.database.migrate` runs them.

A migration is complete in itself: it imports no table of the rooms, because those go on changing and it must not. A
change of a table is the next number here, and the table in its room; a test holds both against each other.
"""
