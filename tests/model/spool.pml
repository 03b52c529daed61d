/* The protocol between spools and the database: each hit that a spool holds is recorded, and none twice, whatever happens between
 * any two steps to a daemon (it is killed), to its file (it is copied and run elsewhere, or an old copy is put back, and
 * nobody notices) and to the database (it comes back as it was earlier).
 *
 * The names are those of the code: src/record/spool.c (settle, agree, confirm, begin_life), src/record/shipper.c (connect, send),
 * sql/functions/20-record.sql (hello, record_batch).  tests/model/check runs it, and then once with each of the rules broken
 * (-DBROKEN_...), which must be found: a model that cannot fail shows nothing.
 *
 * Assumed: a commit is all or nothing; what the database loses is the end of its history; a hit is kept in the spool until it is
 * also in what the database may fall back to (spool_keep, against how far a standby is behind). */

#ifndef HITS
#define HITS 3
#endif
#ifndef FAULTS
#define FAULTS 3
#endif
#define SENSORS 2 /* the second one runs a copy */
#define ROWS 5    /* of an outbox */
#define LIVES 7
#define LINKS 9
#define NO_LINK 255

typedef Row {
    byte hit;   /* 0: there is none, or it was forgotten */
    byte link;  /* what a mark says: drawn when the row joined this outbox */
    bool doubt
};

typedef File {
    byte life;
    byte ancestors; /* a bit for each life before */
    byte mark;      /* outbox number: rows up to it are kept only */
    byte mark_link; /* 0: nothing yet in this life */
    byte last;      /* outbox number given last */
    byte inbox;     /* a bit for each hit */
    byte doubt_inbox;
    Row outbox[ROWS]
};

typedef Database {
    byte times[HITS];  /* how often each hit is recorded */
    byte known;        /* a bit for each life that said hello, */
    byte ended;        /* ... and for each that a later life of some spool has ended */
    byte mark[LIVES]   /* a link, or 0 */
};

File file[SENSORS], copy;
bool runs[SENSORS], connected[SENSORS], is_copied;
Database db, standby;
byte next_hit, next_life = 1, next_link = 1, faults;
byte owed; /* a bit for each hit that was answered, and that no fault but ours can have lost */

#define BIT(n) (1 << (n))

inline copy_file(to, from) {
    to.life = from.life; to.ancestors = from.ancestors; to.mark = from.mark; to.mark_link = from.mark_link; to.last = from.last;
    to.inbox = from.inbox; to.doubt_inbox = from.doubt_inbox;
    for (k : 0 .. ROWS - 1) {
        to.outbox[k].hit = from.outbox[k].hit; to.outbox[k].link = from.outbox[k].link; to.outbox[k].doubt = from.outbox[k].doubt
    }
    k = 0
}

inline copy_database(to, from) {
    to.known = from.known; to.ended = from.ended;
    for (k : 0 .. HITS - 1) { to.times[k] = from.times[k] }
    for (k : 0 .. LIVES - 1) { to.mark[k] = from.mark[k] }
    k = 0
}

/* The hits that F holds, into HELD. */
inline hold(f, held) {
    held = held | f.inbox;
    for (k : 0 .. ROWS - 1) {
        if
        :: k < f.last && f.outbox[k].hit != 0 -> held = held | BIT(f.outbox[k].hit - 1)
        :: else -> skip
        fi
    }
    k = 0
}

inline begin_life(f) {
    assert(next_life < LIVES);
    f.ancestors = f.ancestors | BIT(f.life);
    f.life = next_life; next_life++;
    f.mark = 0; f.mark_link = 0;
#ifndef BROKEN_NO_DOUBT
    f.doubt_inbox = f.inbox;
    for (k : 0 .. ROWS - 1) { f.outbox[k].doubt = (k < f.last) }
    k = 0
#endif
}

/* The mark of the database is at what it SAID.  At a row of ours, earlier or later, it is believed. */
inline agree(f, said) {
    if
    :: said == f.mark_link -> skip
    :: else ->
        found = 0;
        if
        :: said != 0 ->
            for (k : 0 .. ROWS - 1) {
                if
                :: k < f.last && f.outbox[k].hit != 0 && f.outbox[k].link == said -> found = k + 1
                :: else -> skip
                fi
            }
            k = 0
        :: else -> skip
        fi;
        if
        :: found != 0 -> f.mark = found; f.mark_link = said
#ifdef BROKEN_BELIEVES_ANY_MARK
        :: found == 0 -> f.mark = f.last; f.mark_link = said
#else
        :: found == 0 -> begin_life(f)
#endif
        fi;
        found = 0
    fi
}

/* A life that begins ends the ones before it, wherever they are being lived: from now on all that they share is in doubt for both. */
inline hello(f) {
    if
    :: (db.known & BIT(f.life)) == 0 ->
        db.known = db.known | BIT(f.life);
#ifndef BROKEN_ENDS_NO_LIFE
        db.ended = db.ended | f.ancestors;
#endif
        db.mark[f.life] = 0
    :: else -> skip
    fi;
    answer = ((db.ended & BIT(f.life)) -> NO_LINK : db.mark[f.life])
}

/* Rows FROM + 1 .. TO of F's outbox, as they were read, in one transaction with the mark. */
inline record_batch(f, begin_link, begin, end) {
    if
#ifdef BROKEN_NO_COMPARE
    :: true ->
#else
    :: (db.ended & BIT(f.life)) == 0 && db.mark[f.life] == begin_link ->
#endif
        for (k : 0 .. ROWS - 1) {
            if
            :: k >= begin && k < end && f.outbox[k].hit != 0 && !(f.outbox[k].doubt && db.times[f.outbox[k].hit - 1] > 0) ->
                db.times[f.outbox[k].hit - 1]++;
                assert(db.times[f.outbox[k].hit - 1] == 1) /* none twice */
            :: else -> skip
            fi
        }
        k = 0;
        db.mark[f.life] = f.outbox[end - 1].link
#ifndef BROKEN_NO_COMPARE
    :: else -> skip
#endif
    fi;
    answer = ((db.ended & BIT(f.life)) -> NO_LINK : db.mark[f.life])
}

/* A daemon.  Each line that begins with atomic is one transaction, of the spool or of the database; between two of them it may be
 * killed, and then knows nothing but its file. */
proctype Sensor(byte me)
{
    byte k, found, answer, to, from, from_link;

    do
    :: atomic { runs[me] && next_hit < HITS -> /* put: answered with 451 */
        file[me].inbox = file[me].inbox | BIT(next_hit); owed = owed | BIT(next_hit); next_hit++ }
    :: atomic { runs[me] && file[me].inbox != 0 && file[me].last < ROWS && next_link < LINKS -> /* settle, in whatever order */
        if
        :: (file[me].inbox & BIT(0)) -> found = 0
        :: (file[me].inbox & BIT(1)) -> found = 1
        :: (file[me].inbox & BIT(2)) -> found = 2
        fi;
        file[me].outbox[file[me].last].hit = found + 1;
        file[me].outbox[file[me].last].doubt = ((file[me].doubt_inbox & BIT(found)) != 0);
#ifdef BROKEN_MARK_BY_HIT
        file[me].outbox[file[me].last].link = found + 1;
#else
        file[me].outbox[file[me].last].link = next_link; next_link++;
#endif
        file[me].last++;
        file[me].inbox = file[me].inbox & ~BIT(found);
        found = 0 }
    :: atomic { runs[me] && !connected[me] -> hello(file[me]); connected[me] = true };
        if
        :: atomic { connected[me] -> agree(file[me], answer); answer = 0;
            connected[me] = ((db.known & BIT(file[me].life)) != 0) /* else it says hello in its new life */ }
        :: atomic { !connected[me] -> answer = 0 } /* killed, or the connection broke */
        fi
    :: atomic { runs[me] && connected[me] && file[me].mark < file[me].last -> /* read a batch, of any size */
        from = file[me].mark; from_link = file[me].mark_link;
        to = from + 1;
        do
        :: to < file[me].last -> to++
        :: break
        od };
        if
        :: atomic { connected[me] -> record_batch(file[me], from_link, from, to) };
            if
            :: atomic { connected[me] && answer == file[me].outbox[to - 1].link -> /* confirm */
                file[me].mark = to; file[me].mark_link = answer; answer = 0; to = 0; from = 0; from_link = 0 }
            :: atomic { connected[me] && answer != file[me].outbox[to - 1].link ->
                agree(file[me], answer); answer = 0; to = 0; from = 0; from_link = 0;
                connected[me] = ((db.known & BIT(file[me].life)) != 0) }
            :: atomic { !connected[me] -> answer = 0; to = 0; from = 0; from_link = 0 }
            fi
        :: atomic { !connected[me] -> answer = 0; to = 0; from = 0; from_link = 0 }
        fi
    :: atomic { runs[me] && file[me].mark > 0 -> /* forget what was kept long enough */
        for (k : 0 .. ROWS - 1) {
            if
#ifdef BROKEN_KEEPS_NOTHING
            :: k < file[me].mark -> file[me].outbox[k].hit = 0
#else
            :: k < file[me].mark && file[me].outbox[k].hit != 0 && standby.times[file[me].outbox[k].hit - 1] > 0 ->
                file[me].outbox[k].hit = 0
#endif
            :: else -> skip
            fi
        }
        k = 0 }
    od
}

/* Connections break by themselves too: a killed daemon and a COMMIT whose answer nobody hears are the same to what is durable. */
proctype Faults()
{
    byte k, had;

    do
    :: atomic { faults < FAULTS && connected[0] -> connected[0] = false; faults++ }
    :: atomic { faults < FAULTS && connected[1] -> connected[1] = false; faults++ }
    :: atomic { faults < FAULTS && !is_copied -> copy_file(copy, file[0]); is_copied = true }
    :: atomic { faults < FAULTS && is_copied && !runs[1] -> copy_file(file[1], copy); runs[1] = true; faults++ }
    :: atomic { faults < FAULTS && is_copied && !runs[1] -> /* put back; what only the other one held is gone, and counted */
        hold(file[0], had); owed = owed & ~had; had = 0;
        copy_file(file[0], copy);
        hold(file[0], owed); connected[0] = false; faults++ }
    :: atomic { faults < FAULTS -> copy_database(standby, db) }
    :: atomic { faults < FAULTS -> copy_database(db, standby); connected[0] = false; connected[1] = false; faults++ }
    od
}

/* Nothing moves any more: what is owed is recorded. */
proctype Rest()
{
    byte k;

    atomic {
        timeout ->
        for (k : 0 .. HITS - 1) {
            assert(!(owed & BIT(k)) || db.times[k] == 1)
        }
    }
}

init {
    atomic {
        file[0].life = 0;
        runs[0] = true;
        run Sensor(0);
        run Sensor(1);
        run Faults();
        run Rest()
    }
}
