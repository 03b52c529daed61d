-- 012: what count_ripe() decides by is all in `waiting`, so that it need not look each hit's envelope up; and facts know whether they are
-- of one letter, however often it was tried.

SELECT hunnypot.lock_alone('hunnypot.waiting, hunnypot.offence_day, hunnypot.envelope', 'hits');
ALTER TABLE hunnypot.waiting
    ADD COLUMN primaries text, -- with blanks between; NULL: no witness can prove anything about it
    ADD COLUMN key_id    text; -- which witnesses must have had
UPDATE hunnypot.waiting w SET primaries = array_to_string(e.primaries, ' '), key_id = e.key_id
FROM hunnypot.envelope e
WHERE e.hit_id = w.hit_id AND w.class <> 'trap' AND e.whole AND cardinality(e.primaries) > 0;

DROP FUNCTION IF EXISTS hunnypot.busiest_add(timestamptz[], text[], text[], text[]);

-- Whose letters witnesses count: clients with a name, as for others it makes no difference.
DROP INDEX hunnypot.envelope_client;
CREATE INDEX waiting_named ON hunnypot.waiting (network) WHERE name_state <> 'none';
CREATE INDEX offence_day_named ON hunnypot.offence_day (network) WHERE named;

ALTER TABLE hunnypot.offence_day ADD COLUMN letter bytea; -- letter_of() all its hits; NULL: of several, or not known
DROP FUNCTION IF EXISTS hunnypot.listing_term(hunnypot.policy, hunnypot.offence_day[], boolean, bigint, integer);
