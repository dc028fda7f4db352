"""Problems that are answered by programs: what is asked, how a program is read out of a reply, and what tests it."""
