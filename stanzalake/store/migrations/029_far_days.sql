-- What is dated behind 2106-02-07, the last day that a DateTime has, is of that day: views counted none of it.
{dirty_traffic}
