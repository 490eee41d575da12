//! Symmetric positive definite systems of a dozen to a hundred unknowns, solved in place.
//!
//! A fit solves one system per user and movie and sweep, so nothing is allocated per solve. Matrices are row-major
//! d × d slices of which only the upper triangle, diagonal included, is read and written: its rows are contiguous,
//! so the elimination runs over vectors instead of sums.
#![expect(
    clippy::indexing_slicing,
    reason = "every index is bounded by d, which `solve` checks against both slices"
)]

/// The matrix was not positive definite, or a slice had the wrong length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {unknowns} × {unknowns} system has no unique solution: use a penalty above 0 and finite ratings"
)]
pub struct NotPositiveDefinite {
    /// Number of unknowns.
    pub unknowns: usize,
}

/// Solves A x = b: `b` becomes x, and `a` its own factor U with A = Uᵀ U.
///
/// Shapes: `a` is d × d, `b` has d entries. Costs d³/6 multiplications.
///
/// # Errors
/// [`NotPositiveDefinite`]; both slices then hold rubble.
pub fn solve(a: &mut [f64], b: &mut [f64]) -> Result<(), NotPositiveDefinite> {
    let d = b.len();
    let error = NotPositiveDefinite { unknowns: d };
    if a.len() != d * d {
        return Err(error);
    }
    for i in 0..d {
        let (upper, below) = a.split_at_mut((i + 1) * d);
        let row = &mut upper[i * d + i..];
        if !(row[0] > 0.0 && row[0].is_finite()) {
            return Err(error);
        }
        let scale = 1.0 / row[0].sqrt();
        for entry in row.iter_mut() {
            *entry *= scale;
        }
        b[i] *= scale;
        let solved = b[i];
        for (j, line) in (i + 1..d).zip(below.chunks_exact_mut(d)) {
            let pivots = &row[j - i..];
            let factor = pivots[0];
            for (entry, pivot) in line[j..].iter_mut().zip(pivots) {
                *entry -= factor * pivot;
            }
            b[j] -= factor * solved;
        }
    }
    for i in (0..d).rev() {
        let row = &a[i * d + i..(i + 1) * d];
        b[i] = (b[i] - dot(&row[1..], &b[i + 1..])) / row[0];
    }
    Ok(())
}

/// Adds Σ z zᵀ of four rows to the upper triangle of `a`.
///
/// Shapes: `a` is d × d, `rows` is 4 × d; other shapes add nothing. Four products share each load and store of a sum.
pub fn add_four_squares(a: &mut [f64], rows: &[f64], d: usize) {
    if a.len() != d * d || rows.len() != 4 * d {
        return;
    }
    let (first, second) = rows.split_at(2 * d);
    let (z0, z1) = first.split_at(d);
    let (z2, z3) = second.split_at(d);
    for i in 0..d {
        let line = &mut a[i * d + i..(i + 1) * d];
        let (z0, z1, z2, z3) = (&z0[i..], &z1[i..], &z2[i..], &z3[i..]);
        let (f0, f1, f2, f3) = (z0[0], z1[0], z2[0], z3[0]);
        for (sum, ((x0, x1), (x2, x3))) in line.iter_mut().zip(z0.iter().zip(z1).zip(z2.iter().zip(z3))) {
            *sum += (f0 * x0 + f1 * x1) + (f2 * x2 + f3 * x3);
        }
    }
}

/// The scalar product of two equally long slices, summed in four fixed lanes so that it can use vector registers.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 4];
    let (a_quads, b_quads) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = a_quads
        .remainder()
        .iter()
        .zip(b_quads.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a_quads.zip(b_quads) {
        for (lane, (x, y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += x * y;
        }
    }
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Normals;

    #[test]
    fn a_small_system_has_its_known_solution() {
        let mut a = [4.0, 2.0, 0.0, 3.0];
        let mut b = [10.0, 8.0];
        assert_eq!(solve(&mut a, &mut b), Ok(()));
        assert!((b[0] - 1.75).abs() < 1e-15 && (b[1] - 1.5).abs() < 1e-15, "{b:?}");
    }

    #[test]
    fn the_solution_satisfies_the_system() {
        /// Residual per right-hand side; the condition numbers here stay below 1e6.
        const TOLERANCE: f64 = 1e-9;
        let mut normals = Normals::new(3);
        for d in [1, 2, 3, 5, 8, 17, 41] {
            let z: Vec<f64> = (0..d * 2 * d).map(|_| normals.draw()).collect();
            let full: Vec<f64> = (0..d * d)
                .map(|at| {
                    let (i, j) = (at / d, at % d);
                    let product: f64 = (0..2 * d).map(|n| z[n * d + i] * z[n * d + j]).sum();
                    product + if i == j { 0.1 } else { 0.0 }
                })
                .collect();
            let right: Vec<f64> = (0..d).map(|_| normals.draw()).collect();
            let (mut a, mut x) = (full.clone(), right.clone());
            assert_eq!(solve(&mut a, &mut x), Ok(()));
            for i in 0..d {
                let residual = dot(&full[i * d..(i + 1) * d], &x) - right[i];
                assert!(residual.abs() < TOLERANCE, "d = {d}: {residual}");
            }
        }
    }

    #[test]
    fn four_squares_are_added_at_once() {
        /// Sums of four products of numbers below 5.
        const TOLERANCE: f64 = 1e-13;
        let mut normals = Normals::new(4);
        for d in [1, 2, 7, 17] {
            let rows: Vec<f64> = (0..4 * d).map(|_| normals.draw()).collect();
            let mut a = vec![1.0; d * d];
            add_four_squares(&mut a, &rows, d);
            for (i, j) in (0..d).flat_map(|i| (i..d).map(move |j| (i, j))) {
                let expected: f64 = 1.0 + (0..4).map(|n| rows[n * d + i] * rows[n * d + j]).sum::<f64>();
                assert!(
                    (a[i * d + j] - expected).abs() < TOLERANCE,
                    "d = {d}, entry {i} {j}"
                );
            }
        }
    }

    #[test]
    fn a_singular_or_infinite_matrix_is_an_error() {
        let error = Err(NotPositiveDefinite { unknowns: 2 });
        assert_eq!(solve(&mut [1.0, 1.0, 1.0, 1.0], &mut [1.0, 1.0]), error);
        assert_eq!(solve(&mut [f64::NAN, 0.0, 0.0, 1.0], &mut [1.0, 1.0]), error);
        assert_eq!(solve(&mut [f64::INFINITY, 0.0, 0.0, 1.0], &mut [1.0, 1.0]), error);
        assert_eq!(solve(&mut [1.0, 0.0, 1.0], &mut [1.0, 1.0]), error);
    }
}
