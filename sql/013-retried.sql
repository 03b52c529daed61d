-- 013: a letter that is tried again and again, as mail servers do, is given longer to arrive than one that came once; and what a blind
-- witness does not see is held against nobody, for however long it has been blind.

ALTER TABLE hunnypot.policy
    ADD COLUMN retries        int NOT NULL DEFAULT 4 CHECK (retries >= 2),
    ADD COLUMN ripens_retried interval NOT NULL DEFAULT '5 days' CHECK (ripens_retried >= '0');
COMMENT ON COLUMN hunnypot.policy.retries IS
    'tried so many times within the time of ripens, and for a quarter of it, a letter is given ripens_named, or with a name ripens_retried';
COMMENT ON COLUMN hunnypot.policy.ripens_retried IS
    'how long after its first try a hit with such a letter is counted, of a client with a confirmed name';

-- The tries of a letter in their order; also what is asked of one client alone.
SELECT hunnypot.lock_alone('hunnypot.waiting', 'hits');
DROP INDEX hunnypot.waiting_network;
CREATE INDEX waiting_letter ON hunnypot.waiting (network, letter, time);

-- What logged a probe once goes on to, or has become blind, however long ago that was.
SELECT hunnypot.lock_alone('hunnypot.witness', 'witnesses');
ALTER TABLE hunnypot.witness ADD COLUMN logs_probes boolean NOT NULL DEFAULT false;
UPDATE hunnypot.witness w SET logs_probes = true WHERE EXISTS (SELECT FROM hunnypot.witness_probe p WHERE p.witness_id = w.witness_id);
