-- 006: whose turn it is.  These tables never hold a row: they are locked, for what an advisory lock would do if not everybody who may
-- connect could take that, and hold up whoever waits for it.

CREATE TABLE hunnypot.turn_list ();       -- who changes facts or list: list_lock()
CREATE TABLE hunnypot.turn_record ();     -- sensors that record: each with the others, or one that looks whether hits are there alone
CREATE TABLE hunnypot.turn_partitions (); -- who makes a partition of hit
