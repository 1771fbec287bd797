// Whether two small samples differ, and by how much.
#ifndef STASIS_TOOLS_HARNESS_COMPARE_STATISTICS_H_
#define STASIS_TOOLS_HARNESS_COMPARE_STATISTICS_H_

#include <cstddef>
#include <vector>


namespace stasis {

struct Interval {
  double low = 0;
  double high = 0;
};

struct Difference {
  double value = 0;         // mean of b - mean of a
  Interval interval;        // of the value, at the confidence that was asked for
  double p = 1;             // two-sided, of there being no difference
  double degrees = 0;       // of freedom, Welch-Satterthwaite
};

// Welch's unequal-variances t interval and test for the difference of two means (B. L. Welch, "The
// generalization of 'Student's' problem when several different population variances are involved",
// Biometrika 34, 1947; NIST/SEMATECH e-Handbook of Statistical Methods, 7.3.1). Chosen over a
// bootstrap because repeats are few: with five values a bootstrap has too little to draw from, and
// its intervals come out too short. Samples of two values and more each; samples without any
// variance differ for certain (p 0) or not at all (p 1).
Difference WelchDifference(const std::vector<double>& a, const std::vector<double>& b,
                           double confidence);

// Which of several findings remain when many were looked for: those for which Benjamini's and
// Hochberg's procedure ("Controlling the False Discovery Rate", J. R. Statist. Soc. B 57, 1995)
// rejects at `rate`. Where nothing at all has changed, the chance that any remains is `rate`,
// however many metrics there are.
std::vector<bool> BenjaminiHochberg(const std::vector<double>& p, double rate);

double Mean(const std::vector<double>& values);

}  // namespace stasis

#endif  // STASIS_TOOLS_HARNESS_COMPARE_STATISTICS_H_
