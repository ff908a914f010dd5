// A forked child has none of its parent's threads, and parallel_for works there all the same.
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

using namespace metalfaiss::cpu;

int main() {
  set_num_threads(2);
  CHECK(each_index_once(100));
  pid_t child = fork();
  if (child == 0) {
    _exit(each_index_once(100) ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(each_index_once(100));
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
