-- 008: friends: whether lists in DNS have a client is part of its hit, and a hit of which they did not tell waits until they do, or is
-- watched.

SELECT hunnypot.lock_alone('hunnypot.hit, hunnypot.waiting, hunnypot.policy, hunnypot.pardoned, hunnypot.hourly', 'hits');

-- What lists of friends said when it was recorded: no, unanswered, or NULL, when there were none.  Whom they have is not recorded.
ALTER TABLE hunnypot.hit ADD COLUMN friend text;

ALTER TABLE hunnypot.waiting
    ADD COLUMN asks   integer,                       -- the sensor that still asks whether the client is a friend
    ADD COLUMN friend boolean NOT NULL DEFAULT false; -- it is
CREATE INDEX waiting_asks ON hunnypot.waiting (asks, network) WHERE asks IS NOT NULL;

ALTER TABLE hunnypot.policy ADD COLUMN friend_waits interval NOT NULL DEFAULT '24 hours'
    CHECK (friend_waits BETWEEN '0' AND '24 hours');

-- Also friends, of whom lists told only later; and unanswered: no list ever told, and nobody is judged by that.
ALTER TABLE hunnypot.pardoned DROP CONSTRAINT pardoned_why_check,
    ADD CONSTRAINT pardoned_why_check CHECK (why IN ('redeemed', 'excused', 'repeated', 'friend', 'unanswered'));
ALTER TABLE hunnypot.hourly DROP CONSTRAINT hourly_what_check,
    ADD CONSTRAINT hourly_what_check CHECK (what IN ('proven', 'inferred', 'while-listed', 'repeated', 'excused', 'redeemed', 'friend',
                                                     'unanswered', 'listed', 'left'));

-- Sensors of the version before call record_batch() as they did.
DROP FUNCTION IF EXISTS hunnypot.record_batch(text, uuid, uuid, uuid, boolean, hunnypot.new_hit[]);
DROP FUNCTION IF EXISTS hunnypot.letter_of(hunnypot.new_hit);
