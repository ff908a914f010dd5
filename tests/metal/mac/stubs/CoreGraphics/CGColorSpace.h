// What metal-cpp needs of Apple's header, which the cross build does not have.
#pragma once
typedef struct CGColorSpace* CGColorSpaceRef;
