// Every format; HALFLAP_QUANTISED_TYPES lists them.
#pragma once
#include "block32.h"
#include "fp4.h"
#include "iq1.h"
#include "iq2.h"
#include "iq3.h"
#include "iq4.h"
#include "q2_k.h"
#include "q3_k.h"
#include "q4_k.h"
#include "q6_k.h"
#include "ternary.h"
