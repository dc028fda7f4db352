"""Generated texts and next-token distributions of a candidate beside the base's."""
