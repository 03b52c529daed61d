-- An upgrade replaces views, for which nobody may be reading them; else: there was always somebody who read the list.
SELECT hunnypot.lock_alone('hunnypot.listing, hunnypot.offence', 'the list') WHERE to_regclass('hunnypot.listing') IS NOT NULL;
