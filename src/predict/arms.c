/* predict/arms: what can be done at the end of a window: nothing, or one of the ways to predict.
 *
 *     off
 *     A     one increment, of so many times the usual coefficient of b
 *     A2    an increment beside every true step of the next window
 *     B     one jump, as far as `horizon` steps would go; real gradients correct it
 *     C     `horizon` steps of which only every interval-th is a true one */
#ifndef HYB_PREDICT_ARMS_C
#define HYB_PREDICT_ARMS_C
#include "../core/base.c"

typedef enum hyb_way { HYB_WAY_OFF = 0, HYB_WAY_A, HYB_WAY_A2, HYB_WAY_B, HYB_WAY_C } hyb_way;
#define HYB_N_WAYS 5

typedef struct hyb_arm {
    hyb_way way;
    double scale;     /* A: times the usual coefficient */
    int32_t horizon;  /* steps */
    int32_t interval; /* of true steps; 0: there are none */
} hyb_arm;

#define HYB_N_ARMS  12
#define HYB_ARM_OFF 0
#define HYB_ARM_A   2 /* as usual */
#define HYB_ARM_A2  4
#define HYB_ARM_B   5
#define HYB_ARM_C   9

/* clang-format off */
static const hyb_arm hyb_arms[HYB_N_ARMS] = {
    {HYB_WAY_OFF, 0,   0,   0},
    {HYB_WAY_A,   0.5, 1,   0},
    {HYB_WAY_A,   1,   1,   0},
    {HYB_WAY_A,   1.5, 1,   0},
    {HYB_WAY_A2,  1,   20,  1},
    {HYB_WAY_B,   1,   16,  0},
    {HYB_WAY_B,   1,   32,  0},
    {HYB_WAY_B,   1,   64,  0},
    {HYB_WAY_B,   1,   128, 0},
    {HYB_WAY_C,   1,   64,  2},
    {HYB_WAY_C,   1,   64,  4},
    {HYB_WAY_C,   1,   64,  8}
};
/* clang-format on */

static const char *hyb_way_name(hyb_way way)
{
    static const char *const names[HYB_N_WAYS] = { "off", "A", "A2", "B", "C" };
    return (int)way >= 0 && (int)way < HYB_N_WAYS ? names[way] : "?";
}

/* A bit for each arm of some ways; ways: a bit for each. Off is always among them. */
static uint32_t hyb_arms_of(uint32_t ways)
{
    uint32_t arms = 1u << HYB_ARM_OFF;
    int i;
    for (i = 0; i < HYB_N_ARMS; i++)
        if (ways >> (int)hyb_arms[i].way & 1) arms |= 1u << i;
    return arms;
}
#endif
