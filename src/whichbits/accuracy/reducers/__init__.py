"""How several answers to one item become the item's score; one file each."""
