-- 004: figures for pictures: what hits came to, hour by hour, without addresses, names and domains.  Written under list_lock()
-- by what decides: count_ripe(), redeem(), refresh().

CREATE TABLE hunnypot.hourly (
    hour   timestamptz NOT NULL, -- of hits when they came, of networks when the list changed
    class  text NOT NULL,
    what   text NOT NULL CHECK (what IN ('proven', 'inferred', 'while-listed', 'repeated', 'excused', 'redeemed', -- hits
                                         'listed', 'left')),                                                      -- networks
    number bigint NOT NULL CHECK (number >= 0),
    PRIMARY KEY (hour, class, what)
) WITH (fillfactor = 80);
COMMENT ON COLUMN hunnypot.hourly.what IS
    'proven, inferred: counted; while-listed: not counted, as the client may have come only because it was on the list; the others as '
    'in pardoned. listed, left: networks that came on the list and that left it';

INSERT INTO hunnypot.setting (name, value, meaning) VALUES
    ('keep_figures', '400 days', 'what `hunnypot report` shows goes so far back');
