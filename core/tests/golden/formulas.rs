//! Published formulas: those of the product, and relatives that only check the method.

use serde_json::Value;
use serin_core::judge::{effect_grid, half_normal_mixture, half_normal_tuning, log_mean_exp, split_evidence};
use statrs::function::beta::{beta_reg, ln_beta};
use statrs::function::erf::erfc;
use statrs::function::gamma::{gamma_lr, gamma_ur, ln_gamma};

use crate::cases::{all_close, close, get, section};

/// The root of `f` between `low` and `high`, where its sign changes.
fn root(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let rising = f(high) > 0.0;
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if (f(middle) > 0.0) == rising {
            high = middle;
        } else {
            low = middle;
        }
    }
    f64::midpoint(low, high)
}

fn rho_two_sided(v: f64, alpha: f64) -> f64 {
    let two = -2.0 * alpha.ln();
    v / (two + two.ln_1p())
}

fn normal_mixture_two_sided(s: f64, v: f64, rho: f64) -> f64 {
    0.5 * (rho / (v + rho)).ln() + s * s / (2.0 * (v + rho))
}

fn normal_bound_one_sided(v: f64, alpha: f64, rho: f64) -> f64 {
    let excess = |s: f64| half_normal_mixture(s, v, rho) + alpha.ln();
    let mut high = v;
    while excess(high) < 0.0 {
        high *= 2.0;
    }
    root(excess, 0.0, high)
}

fn gamma_poisson(s: f64, v: f64, rho: f64, c: f64) -> f64 {
    let (a, vr) = (rho / (c * c), (v + rho) / (c * c));
    let shape = s / c + vr;
    a * a.ln() - ln_gamma(a) - gamma_ur(a, a).ln() + ln_gamma(shape) + gamma_ur(shape, vr).ln()
        - shape * vr.ln()
        + v / (c * c)
}

fn gamma_exponential(s: f64, v: f64, rho: f64, c: f64) -> f64 {
    let (a, vr, w) = (rho / (c * c), (v + rho) / (c * c), (c * s + v) / (c * c));
    a * a.ln() - ln_gamma(a) - gamma_lr(a, a).ln() + ln_gamma(vr) + gamma_lr(vr, w + a).ln()
        - vr * (w + a).ln()
        + w
}

struct BetaBinomial {
    best_at: f64,
    down: f64,
    up: f64,
    alpha: f64,
    one_sided: bool,
}

impl BetaBinomial {
    fn log(&self, s: f64, v: f64) -> f64 {
        let (g, h) = (self.down, self.up);
        let rho = if self.one_sided {
            half_normal_tuning(self.best_at, self.alpha)
        } else {
            rho_two_sided(self.best_at, self.alpha)
        };
        let r = (rho - g * h).max(1e-3 * g * h);
        let incomplete = |a: f64, b: f64| {
            ln_beta(a, b)
                + if self.one_sided {
                    beta_reg(a, b, h / (g + h)).ln()
                } else {
                    0.0
                }
        };
        v / (g * h) * (g + h).ln()
            - (v + h * s) / (h * (g + h)) * g.ln()
            - (v - g * s) / (g * (g + h)) * h.ln()
            + incomplete((r + v - g * s) / (g * (g + h)), (r + v + h * s) / (h * (g + h)))
            - incomplete(r / (g * (g + h)), r / (h * (g + h)))
    }
}

fn bernoulli_set(k: f64, n: f64, alpha: f64, t: f64) -> (f64, f64) {
    let share = k / n;
    let excess = |p: f64| {
        let mixture = BetaBinomial {
            best_at: p * (1.0 - p) * t,
            down: p,
            up: 1.0 - p,
            alpha: 0.05,
            one_sided: false,
        };
        mixture.log((share - p) * n, p * (1.0 - p) * n) + alpha.ln()
    };
    let edge = 1e-12;
    let low = if k == 0.0 || excess(edge) < 0.0 {
        0.0
    } else {
        root(excess, edge, share)
    };
    let high = if k == n || excess(1.0 - edge) < 0.0 {
        1.0
    } else {
        root(excess, share, 1.0 - edge)
    };
    (low, high)
}

/// The smallest error probability of the iterated-logarithm bound with constant `c`, over its free parameter.
fn lil_error(c: f64, a: f64) -> f64 {
    let error = |eta: f64| {
        let g = 2.0 / eta * (a - (2.0 * (eta - 1.0) / c).sqrt()).powi(2);
        if g <= 1.0 {
            f64::INFINITY
        } else {
            4.0 * (-g * c).exp() * (1.0 + 1.0 / ((g - 1.0) * eta.ln()))
        }
    };
    let highest = root(
        |e| (e / 2.0).sqrt() + (2.0 * (e - 1.0) / c).sqrt() - a,
        1.0,
        2.0 * a * a,
    );
    let (mut low, mut width) = (1.0 + 1e-9, highest - 1.0 - 2e-9);
    // A grid, then finer grids around its best point: the error has one minimum.
    let mut best = f64::INFINITY;
    for _ in 0..6 {
        let points = (0..=400).map(|i| low + width * f64::from(i) / 400.0);
        let (eta, least) = points
            .map(|eta| (eta, error(eta)))
            .fold((low, f64::INFINITY), |a, b| if b.1 < a.1 { b } else { a });
        best = best.min(least);
        low = (eta - width / 400.0).max(1.0 + 1e-12);
        width /= 200.0;
    }
    best
}

fn lil_constant(alpha: f64) -> f64 {
    root(|c| alpha - lil_error(c, 0.85), 3.0, 60.0)
}

fn asymptotic_two_sided(t: f64, r: f64, alpha: f64) -> f64 {
    (2.0 * (t * r + 1.0) * ((t * r + 1.0).sqrt() / alpha).ln() / (t * t * r)).sqrt()
}

fn asymptotic_one_sided(t: f64, r: f64, alpha: f64) -> f64 {
    (2.0 * (t * r + 1.0) * ((t * r + 1.0).sqrt() / (2.0 * alpha)).ln_1p() / (t * t * r)).sqrt()
}

/// The lower branch of Lambert's W: w ≤ −1 with w·exp(w) = x.
fn lambert_lower(x: f64) -> f64 {
    root(|w| x - w * w.exp(), -700.0, -1.0)
}

fn log_ratio_set(counts: [f64; 2], shares: [f64; 2], alpha: f64) -> (f64, f64) {
    let log_beta = |a: [f64; 2]| ln_gamma(a[0]) + ln_gamma(a[1]) - ln_gamma(a[0] + a[1]);
    let prior = shares.map(|share| 100.0 * share);
    let base = log_beta([prior[0] + counts[0], prior[1] + counts[1]]) - log_beta(prior);
    let excess = |d: f64| {
        let second = shares[1] * d.exp() / (shares[0] + shares[1] * d.exp());
        base - counts[0] * (1.0 - second).ln() - counts[1] * second.ln() + alpha.ln()
    };
    let best = (counts[1] / shares[1]).ln() - (counts[0] / shares[0]).ln();
    (root(excess, best - 20.0, best), root(excess, best, best + 20.0))
}

#[test]
fn published_formulas() {
    for case in section("functions") {
        let name: String = get(case, "fn");
        let args: Vec<Value> = get(case, "args");
        let number = |index: usize| args[index].as_f64().unwrap();
        let list = |index: usize| -> Vec<f64> { serde_json::from_value(args[index].clone()).unwrap() };
        let pair = |index: usize| <[f64; 2]>::try_from(list(index)).unwrap();
        let single = match name.as_str() {
            "rho_two_sided" => rho_two_sided(number(0), number(1)),
            "rho_one_sided" => half_normal_tuning(number(0), number(1)),
            "log_normal_mixture_two_sided" => normal_mixture_two_sided(number(0), number(1), number(2)),
            "log_normal_mixture_one_sided" => half_normal_mixture(number(0), number(1), number(2)),
            "normal_mixture_bound_two_sided" => {
                let (v, alpha, rho) = (number(0), number(1), number(2));
                ((v + rho) * ((v / rho).ln_1p() - 2.0 * alpha.ln())).sqrt()
            }
            "normal_mixture_bound_one_sided" => normal_bound_one_sided(number(0), number(1), number(2)),
            "log_gamma_poisson_mixture" => gamma_poisson(number(0), number(1), number(2), number(3)),
            "log_gamma_exponential_mixture" => gamma_exponential(number(0), number(1), number(2), number(3)),
            "log_beta_binomial_mixture" => BetaBinomial {
                best_at: number(2),
                down: number(3),
                up: number(4),
                alpha: args.get(5).and_then(Value::as_f64).unwrap_or(0.05),
                one_sided: args.get(6).and_then(Value::as_bool).unwrap_or(true),
            }
            .log(number(0), number(1)),
            "lil_constant" => lil_constant(number(0)),
            "dkw_time_uniform" => {
                let m = args.get(2).and_then(Value::as_f64).unwrap_or(1.0);
                0.85 * (((number(0) / m).ln().ln_1p() + lil_constant(number(1))) / number(0)).sqrt()
            }
            "asymp_margin_two_sided" => asymptotic_two_sided(number(0), number(1), number(2)),
            "asymp_margin_one_sided" => asymptotic_one_sided(number(0), number(1), number(2)),
            "best_rho2_exact" => (-lambert_lower(-number(1).powi(2) / std::f64::consts::E) - 1.0) / number(0),
            "best_rho2_approx" => {
                let two = -2.0 * number(1).ln();
                (two + two.ln_1p()) / number(0)
            }
            "log_dirichlet_multinomial_bf" => {
                let counts: Vec<u64> = serde_json::from_value(args[0].clone()).unwrap();
                let arms: Vec<(u64, f64)> = counts.into_iter().zip(list(1)).collect();
                split_evidence(&arms)
            }
            "bernoulli_cs" | "log_ratio_cs" => {
                let set = if name == "bernoulli_cs" {
                    bernoulli_set(number(0), number(1), number(2), number(3))
                } else {
                    log_ratio_set(pair(0), pair(1), number(2))
                };
                all_close(case, "set", &[set.0, set.1], &get::<Vec<f64>>(case, "value"));
                continue;
            }
            unknown => panic!("a formula that nobody checks: {unknown}"),
        };
        close(
            case,
            &args
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
            single,
            get(case, "value"),
        );
    }
}

/// The test of rates by splitting each block's events as Poisson counts would: close to the exact one at small rates.
#[test]
fn the_split_of_poisson_counts() {
    for case in section("poisson_split") {
        let null: f64 = get(case, "d0");
        let sign = if get(case, "worse") { 1.0 } else { -1.0 };
        let effects: Vec<f64> = effect_grid().iter().map(|effect| null + sign * effect).collect();
        let mut logs = vec![0.0; effects.len()];
        let mut evidence = Vec::new();
        for block in get::<Vec<[f64; 4]>>(case, "blocks") {
            let [bad, all, bad_stable, all_stable] = block;
            let share = |d: f64| all * d.exp() / (all * d.exp() + all_stable);
            let times_ln = |count: f64, x: f64| if count == 0.0 { 0.0 } else { count * x.ln() };
            for (log, effect) in logs.iter_mut().zip(&effects) {
                if all > 0.0 && all_stable > 0.0 {
                    *log += times_ln(bad, share(*effect) / share(null))
                        + times_ln(bad_stable, (1.0 - share(*effect)) / (1.0 - share(null)));
                }
            }
            evidence.push(log_mean_exp(&logs));
        }
        all_close(case, "log_e", &evidence, &get::<Vec<f64>>(case, "log_e"));
    }
}

/// The running-variance mixture over block residuals: asymptotic, a rival of the histogram bound.
#[test]
fn block_means_with_a_running_variance() {
    for case in section("block_mean_asymp") {
        let limit: f64 = get(case, "m");
        let sign = if case["worse"] == false { -1.0 } else { 1.0 };
        let burn_in: f64 = get(case, "burn");
        let rho = half_normal_tuning(get(case, "b_opt"), get(case, "alpha_opt"));
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        let mut evidence = Vec::new();
        for [requests, seconds] in get::<Vec<[f64; 2]>>(case, "blocks_n_sum") {
            let residual: f64 = sign * (seconds - limit * requests);
            sum += residual;
            squares += residual * residual;
            count += 1.0;
            let variance: f64 = squares / count - (sum / count) * (sum / count);
            evidence.push(if count < burn_in {
                0.0
            } else {
                half_normal_mixture(sum / variance.max(1e-30).sqrt(), count, rho)
            });
        }
        all_close(case, "log_e", &evidence, &get::<Vec<f64>>(case, "log_e"));
    }
}

#[test]
fn the_normal_tail_is_exact_where_it_is_tiny() {
    // An independent implementation of erfc.
    for z in [-8.0, -3.0, 0.0, 2.0] {
        let log_cdf: f64 = (erfc(-z * std::f64::consts::FRAC_1_SQRT_2) / 2.0).ln();
        let mixture = half_normal_mixture(z, 0.5, 0.5);
        assert!((mixture - (0.5 * 2f64.ln() + z * z / 2.0 + log_cdf)).abs() < 1e-9);
    }
}
