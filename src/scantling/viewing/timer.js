// Time that is spent on a case: as long as somebody does something, and a pause of half a minute at most.
const LONGEST_PAUSE = 30000;

/** Counts the seconds in use; `now` is a clock in milliseconds. */
function workTimer(now = () => performance.now()) {
  let spent = 0;
  let last = null;
  return {
    /** Something was done. */
    used() {
      const time = now();
      if (last !== null) spent += Math.min(LONGEST_PAUSE, time - last);
      last = time;
    },
    /** Begin with a case on which so many seconds were spent before. */
    start(seconds = 0) {
      spent = seconds * 1000;
      last = now();
    },
    get seconds() {
      return spent / 1000;
    },
  };
}
