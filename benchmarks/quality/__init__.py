"""Quality of each family on real data, with peers or published figures beside it."""
