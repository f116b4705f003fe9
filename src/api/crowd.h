/* ---- easy: many conversations in one context --------------------------------------------------------------------- */
#ifndef HYB_API_CROWD_H
#define HYB_API_CROWD_H
#include "session.h"

/* Any number of sessions that share a context (hybrid_session_desc.context_shared), and one call a frame for all of
 * them: those that answer are computed in one batch, token by token, and prompts beside them in portions.
 *
 *     hybrid_crowd_create(context, &crowd, &err);
 *     hybrid_crowd_add(crowd, guard, 1, &err);
 *     hybrid_crowd_add(crowd, smith, 2, &err);
 *     hybrid_session_say(smith, "What do you sell?");
 *     while (frame()) {
 *         hybrid_crowd_step(crowd, 2000, &err);
 *         while ((who = hybrid_crowd_next(crowd, &piece)) != NULL) show(hybrid_session_user(who), piece.text);
 *     }
 *
 * Each session says what it says alone, bit for bit. A beginning that several have in common is computed by one of
 * them, and the others wait for it. */
typedef struct hybrid_crowd hybrid_crowd;

/* The context must outlive the crowd. Errors: INVALID, MEMORY. */
HYBRID_API hybrid_result hybrid_crowd_create(hybrid_context *context, hybrid_crowd **crowd, hybrid_error *error);
/* The sessions stay as they are. */
HYBRID_API void hybrid_crowd_destroy(hybrid_crowd *crowd);

/* Takes a session in, or gives one that is in it another priority, a positive number: where two have work, one with
 * twice the priority of the other takes twice its turns, and none waits for ever. Take a session out before it is
 * destroyed. Errors: INVALID (it has another context, or no such priority), MEMORY. */
HYBRID_API hybrid_result hybrid_crowd_add(hybrid_crowd *crowd, hybrid_session *session, float priority,
                                          hybrid_error *error);
/* A session that is not in it is fine. */
HYBRID_API void hybrid_crowd_remove(hybrid_crowd *crowd, hybrid_session *session);

/* Works for about budget_us microseconds on the answers of all, and returns as soon as there are pieces: take them by
 * hybrid_crowd_next, and call again if there is time left. A session that has a piece waits until it is taken; one that
 * cannot go on has one with HYBRID_STOP_ERROR, and hybrid_session_result says why.
 * Errors: those of hybrid_decode_step. Another call tries again then. */
HYBRID_API hybrid_result hybrid_crowd_step(hybrid_crowd *crowd, uint64_t budget_us, hybrid_error *error);

/* A session that has a piece, and the piece, valid until the next step; an answer ends with one whose stop says why,
 * which may be empty. NULL: there are no more. */
HYBRID_API hybrid_session *hybrid_crowd_next(hybrid_crowd *crowd, hybrid_piece *piece);
#endif
