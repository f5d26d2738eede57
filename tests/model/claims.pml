/* How nodes share a job: claims, leases and take-over, with every fault that the protocol must bear. For Spin.

   node 0                              database                               node 1
     turn: beat, hand in, claim ────▶  heartbeat + 1, refused if buried;
     (its moment of sending noted)     a result counts while node and token
                                       hold; the job is taken if it is free,
                                       token + 1
     may run until sent + L - margin ◀─  done / buried (then: a new node)
       │ later turns prolong that           counter ─────────────────────────▶ stands still for L since the answer
       │ else the guardian kills, and       buried if it still stands, ◀────── came that showed it? bury
       ▼ only then the job is given back    its job is free

   The nodes may as well be on one machine: then each sees the other's lock, which its daemon holds and the guardian of
   its run, until both have ended. When it is free the other may bury it at once. (In the model they always may: that is
   the more dangerous. When a node crashes its run goes on until the guardian has killed it.)

   A turn, and its answer, may take any time or never come, and one that a node has given up may be carried out later
   (one such at a time). Nodes may crash and start again at any time, any number of times. A kill takes up to a tick,
   which is the margin. Nothing is counted without end, so states recur and the search covers time without end; L is 4
   ticks, 3 where the test says so. The daemon's part is one step after the other: its threads are not modelled, but
   what went wrong between them is (LATE_CLAIM, GIVE_BACK_EARLY).

   Each variant is a macro, so that what is wrong stays proven wrong (test_model.py):

   variant              what happens
   (none)               no overlap; one result a due time; nothing stranded
   UNFENCED             a result counts whoever sends it: two results for one due time
   OWNER_NAME           the fence is the node's name: a late result is credited to its next claim: two results
   NO_SELF_KILL         runs go on when the lease is over: overlap
   DEADLINE_AT_REPLY    the lease counts from the answer, which may have been long on its way: overlap
   NO_MARGIN            killing begins when others may take over: overlap
   ORPHAN               a run survives the crash of its node: overlap
   LOCK_OF_DAEMON       the lock is the daemon's alone: overlap with what its guardian has not killed yet
   LOCK_HELD            a lock that is held, or is somewhere else, counts as free: overlap
   FREEZE               a node (0; they are alike) may stand still and come back: overlap until the guardian kills, the
                        documented exception; but still one result a due time
   TIMESTAMP_LEASE      take over when the database's clock says so, and that is put forward: overlap
   UNCONDITIONAL_CLAIM  look whether it is free, then take it: overlap
   SEEN_AT_REQUEST      a counter counts as seen when it was asked for, not when the answer had come: overlap
   LATE_CLAIM           a claim confirmed when the lease is over is given back, but stays in the queue: overlap
   GIVE_BACK_EARLY      jobs are given back when their runs are told to end, not when they have ended: overlap
   CLAIM_UNBEATEN       a claim does not ask whether its node is buried: stranded, nobody looks after the dead twice
   REACH_…              none is wrong: that what the name says can happen at all is shown by its being "violated"     */

#ifndef L
#define L 4 /* the lease, in ticks */
#endif
#define DUES 2 /* due times of the job */
#define NOBODY 0 /* nodes are 1 and 2 here */
#define LATE 2 /* turn */

#ifdef NO_MARGIN
#define TRUSTED L
#else
#define TRUSTED (L - 1)
#endif
#ifdef DEADLINE_AT_REPLY
#define LEFT(t) TRUSTED
#else
#define LEFT(t) (turn[t].age >= TRUSTED -> 0 : TRUSTED - turn[t].age)
#endif
#ifdef UNFENCED
#define FENCE(t) true
#elif defined(OWNER_NAME)
#define FENCE(t) (holder == me + 1)
#else
#define FENCE(t) (holder == me + 1 && token == turn[t].token && !turn[t].old)
#endif
#ifdef UNCONDITIONAL_CLAIM
#define MAY_CLAIM(t) (turn[t].wants && turn[t].free)
#else
#define MAY_CLAIM(t) (turn[t].wants && holder == NOBODY)
#endif
#ifdef TIMESTAMP_LEASE
#define MAY_BURY (node[other].valid == 0)
#define STAMP node[me].valid = L
#else
#define MAY_BURY (LOCK_FREE || (node[me].knows && node[me].still == L))
#define STAMP skip
#endif
#ifdef LOCK_HELD
#define LOCK_FREE true
#elif defined(LOCK_OF_DAEMON)
#define LOCK_FREE (!node[other].up)
#else
#define LOCK_FREE (!node[other].up && node[other].has != runs)
#endif
#ifdef NO_SELF_KILL
#define DYING(n) false
#else
#define DYING(n) (RUNNING(n) && !node[n].trust)
#endif
#define RUNNING(n) (node[n].has == runs && !node[n].frozen)
#ifdef ONLY_RESULTS
#define NO_OVERLAP true
#else
#define NO_OVERLAP (RUNNING(0) + RUNNING(1) + orphan <= 1)
#endif
#define ABLE (node[me].up && !node[me].frozen)

mtype = { idle, queued, runs, ended };  /* what a node has of the job */
mtype = { none, sent, answered };       /* where a turn is */

typedef Turn {
    mtype state = none;
    byte age;                       /* ticks since it was sent */
    bool old;                       /* its daemon has signed on anew since */
    bool wants, free, keeps;        /* asks for the job (which was free when asked); believes it holds `token` */
    bool result;                    /* hands in the result of the run for `due` under `token` */
    byte token, due;                /* answer: of the claim, if it got the job */
    bool buried, got, fresh         /* answer; fresh: the other's counter has not moved since it was read */
};
typedef Node {
    bool up = true, frozen;
    mtype has = idle;
    byte token, due;                /* of what it has */
    bool forgot;                    /* it has given back what it has all the same */
    byte trust = TRUSTED;           /* ticks that runs may go on */
    bool knows;                     /* the other's counter is what it saw last */
    byte still;                     /* and has been for so many ticks */
    bool buried;                    /* its row */
    byte valid = L;                 /* its row, with TIMESTAMP_LEASE */
    byte ran                        /* ticks, with REACH_LONG_RUN */
};
Node node[2];
Turn turn[3];                       /* of each node the one that it waits for, and LATE: one that was given up */
byte late_of;                       /* by this node */
byte holder = NOBODY, token, due;   /* the job's row */
bool accepted[DUES], orphan, took_over;
byte which;

#define HAS(k) (node[0].token == k || node[1].token == k)
#define CARRIED(k) (HAS(k) || turn[0].token == k || turn[1].token == k || turn[LATE].token == k)

inline clear(t) {
    turn[t].state = none; turn[t].age = 0; turn[t].old = 0; turn[t].wants = 0; turn[t].free = 0; turn[t].keeps = 0;
    turn[t].result = 0; turn[t].token = 0; turn[t].due = 0; turn[t].buried = 0; turn[t].got = 0; turn[t].fresh = 0
}
inline lay_by(t) { /* it is given up, but under way */
    turn[LATE].state = sent; late_of = t; turn[LATE].wants = turn[t].wants; turn[LATE].free = turn[t].free;
    turn[LATE].result = turn[t].result; turn[LATE].token = turn[t].token; turn[LATE].due = turn[t].due
}
inline let_go() { node[me].has = idle; node[me].token = 0; node[me].due = 0; node[me].forgot = 0 }
inline unsee() { node[me].knows = 0; node[me].still = 0 }
inline beat() { STAMP; node[other].knows = 0; node[other].still = 0; turn[other].fresh = 0 }
inline sign_on() { /* a new row; whoever ran here before is dead, and what it had is free */
    if :: holder == me + 1 -> holder = NOBODY :: else fi;
    node[me].buried = 0; node[me].trust = TRUSTED; unsee(); beat();
    if :: turn[LATE].state == sent && late_of == me -> turn[LATE].old = 1 :: else fi
}
inline commit(t) { /* the database carries out a turn of `me` */
    turn[t].buried = (turn[t].old || node[me].buried);
    if :: !turn[t].buried -> beat() :: else fi;
    if
    :: turn[t].result && FENCE(t) ->
        which = turn[t].due;
        assert(!accepted[which]);
        accepted[which] = 1;
        if :: which == due -> due++; holder = NOBODY :: else fi;
        which = 0
    :: else
    fi;
    /* What the node does not know of is given back. (Not by a turn that it has given up: that has read the table.) */
    if
    :: t != LATE && !turn[t].buried && holder == me + 1 && !(turn[t].keeps && token == turn[t].token) -> holder = NOBODY
    :: else
    fi;
    if
#ifdef CLAIM_UNBEATEN
    :: MAY_CLAIM(t) && due < DUES ->
#else
    :: MAY_CLAIM(t) && due < DUES && !turn[t].buried ->
#endif
        assert(!turn[t].buried); /* or it is stranded */
        token = 1; /* one that nothing under way carries: as good as one more, and states recur */
        do :: CARRIED(token) -> token++ :: else -> break od;
        holder = me + 1; turn[t].got = 1; turn[t].token = token; turn[t].due = due
    :: else -> turn[t].token = 0; turn[t].due = 0
    fi;
    turn[t].state = answered; turn[t].wants = 0; turn[t].free = 0; turn[t].keeps = 0;
    turn[t].fresh = !node[other].buried
}
inline take(t) { node[me].has = queued; node[me].token = turn[t].token; node[me].due = turn[t].due }
inline start() { /* at once: what is queued may start at any time, so it counts as running */
    node[me].has = runs;
#ifdef REACH_TAKE_OVER
    assert(!took_over);
#endif
    assert(NO_OVERLAP)
}
inline hear(t) { /* the answer has come */
    if
    :: turn[t].buried -> sign_on(); let_go()
    :: else ->
        if :: LEFT(t) > node[me].trust -> node[me].trust = LEFT(t) :: else fi;
        if :: turn[t].result -> let_go() :: else fi;
        if
        :: turn[t].got && node[me].trust -> take(t); start()
#ifdef LATE_CLAIM
        :: turn[t].got && !node[me].trust -> take(t); node[me].forgot = 1
#endif
        :: else
        fi;
        if
        :: !turn[t].fresh -> unsee()
        :: turn[t].fresh && !node[me].knows ->
            node[me].knows = 1;
#ifdef SEEN_AT_REQUEST
            node[me].still = turn[t].age
#endif
        :: else
        fi
    fi
}

active [2] proctype Daemon() {
    byte me = _pid, other = 1 - _pid;
end:
    do
    :: d_step { ABLE && turn[me].state == none ->
        turn[me].state = sent;
        turn[me].wants = (node[me].has == idle || node[me].has == ended);
#ifdef UNCONDITIONAL_CLAIM
        turn[me].free = (holder == NOBODY);
#endif
        turn[me].result = (node[me].has == ended);
        turn[me].keeps = (node[me].has != idle && !node[me].forgot);
        turn[me].token = node[me].token; turn[me].due = node[me].due
    }
    :: d_step { turn[me].state == sent -> commit(me) }
    :: d_step { turn[LATE].state == sent && late_of == me -> commit(LATE); clear(LATE); late_of = 0 }
    :: d_step { ABLE && turn[me].state == answered -> hear(me); clear(me) }
    :: d_step { turn[me].state != none -> clear(me) } /* it is lost, or its answer is */
    :: d_step { turn[me].state == sent && turn[LATE].state == none && (turn[me].wants || turn[me].result) ->
        lay_by(me); clear(me) /* a mere heartbeat that comes late hurts nobody */
    }
#ifdef LATE_CLAIM
    :: d_step { ABLE && node[me].has == queued && node[me].trust -> start() }
#endif
    :: d_step { ABLE && node[me].has == runs ->
        node[me].has = ended;
#ifdef REACH_LAST_RUN
        assert(node[me].due < DUES - 1)
#endif
    }
#ifdef GIVE_BACK_EARLY
    :: d_step { ABLE && DYING(me) && !node[me].forgot -> node[me].forgot = 1 }
#endif
    :: d_step { (ABLE || !node[me].up) && DYING(me) -> let_go() } /* the guardian has killed it */
    :: d_step { ABLE && !node[other].buried && MAY_BURY ->
        node[other].buried = 1; unsee();
        turn[me].fresh = 0;
#ifdef REACH_TAKE_OVER
        took_over = took_over || holder == other + 1;
#endif
        if :: holder == other + 1 -> holder = NOBODY :: else fi
    }
    :: d_step { node[me].up -> /* crash */
#ifdef ORPHAN
        orphan = orphan || RUNNING(me);
        let_go();
#endif
        if :: !RUNNING(me) -> let_go() :: else fi; /* what runs has a tick to die in */
        clear(me); unsee();
        node[me].up = 0; node[me].frozen = 0; node[me].trust = 0
    }
    :: d_step { !node[me].up && node[me].has != runs -> sign_on(); node[me].up = 1 }
#ifdef FREEZE
    :: d_step { ABLE && me == 0 -> node[me].frozen = 1 }
    :: d_step { node[me].frozen -> node[me].frozen = 0; assert(NO_OVERLAP) }
#endif
    od
}

#define LESS(one) one = (one > 0 -> one - 1 : 0)
#define MORE(one, most) one = (one < most -> one + 1 : most)
#ifdef SEEN_AT_REQUEST
#define OLDEST L
#else
#define OLDEST TRUSTED
#endif

inline pass(n) {
    LESS(node[n].trust);
#ifdef REACH_LONG_RUN
    if :: RUNNING(n) -> MORE(node[n].ran, 2 * L) :: else -> node[n].ran = 0 fi;
    assert(node[n].ran < 2 * L);
#endif
    if :: node[n].knows -> MORE(node[n].still, L) :: else fi;
    if :: turn[n].state != none -> MORE(turn[n].age, OLDEST) :: else fi;
#ifdef TIMESTAMP_LEASE
    LESS(node[n].valid);
#endif
}

active proctype Clock() {
end:
    do
    :: d_step { !DYING(0) && !DYING(1) -> pass(0); pass(1) } /* a tick; no kill takes longer */
#ifdef TIMESTAMP_LEASE
    :: d_step { node[0].valid = 0; node[1].valid = 0 } /* the database's clock is put forward */
#endif
    od
}
