// How the threads of load_tile follow a matrix. Plans choose it.
#pragma once

#define ORDER_VECTORS 0  // four neighbours of a row at once: unit column stride, aligned
#define ORDER_ROWS 1     // single elements along rows
#define ORDER_COLUMNS 2  // single elements down columns
