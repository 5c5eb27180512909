//! Four numbers at once.

pub use platform::Vector;

/// `1.5 * 2^23`: beside it numbers are whole, and the last bits of a sum with it are those of the whole number.
const WHOLE: f32 = 12_582_912.0;

#[cfg(target_arch = "wasm32")]
mod platform {
    use std::arch::wasm32::*;

    #[derive(Clone, Copy)]
    pub struct Vector(v128);

    impl Vector {
        pub fn new([a, b, c, d]: [f32; 4]) -> Self {
            Self(f32x4(a, b, c, d))
        }
        pub fn splat(value: f32) -> Self {
            Self(f32x4_splat(value))
        }
        pub fn add(self, other: Self) -> Self {
            Self(f32x4_add(self.0, other.0))
        }
        pub fn mul(self, other: Self) -> Self {
            Self(f32x4_mul(self.0, other.0))
        }
        pub fn div(self, other: Self) -> Self {
            Self(f32x4_div(self.0, other.0))
        }
        pub fn max(self, other: Self) -> Self {
            Self(f32x4_pmax(self.0, other.0))
        }
        pub fn min(self, other: Self) -> Self {
            Self(f32x4_pmin(self.0, other.0))
        }
        /// The nearest whole number, from -2^22 to 2^22, and two to its power; this from -126 to 127.
        pub fn rounded(self) -> [Self; 2] {
            let shifted = f32x4_add(self.0, f32x4_splat(super::WHOLE));
            let exponent = i32x4_shl(shifted, 23);
            [
                Self(f32x4_sub(shifted, f32x4_splat(super::WHOLE))),
                Self(i32x4_add(exponent, i32x4_splat(127 << 23))),
            ]
        }
        /// `self` where `x >= limit`, else 0.
        pub fn where_at_least(self, x: Self, limit: Self) -> Self {
            Self(v128_and(self.0, f32x4_ge(x.0, limit.0)))
        }
        /// Columns of four rows as rows.
        pub fn transposed([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            let low = i32x4_shuffle::<0, 4, 1, 5>(a.0, b.0); // a0 b0 a1 b1
            let high = i32x4_shuffle::<2, 6, 3, 7>(a.0, b.0);
            let low2 = i32x4_shuffle::<0, 4, 1, 5>(c.0, d.0);
            let high2 = i32x4_shuffle::<2, 6, 3, 7>(c.0, d.0);
            [
                Self(i32x4_shuffle::<0, 1, 4, 5>(low, low2)),
                Self(i32x4_shuffle::<2, 3, 6, 7>(low, low2)),
                Self(i32x4_shuffle::<0, 1, 4, 5>(high, high2)),
                Self(i32x4_shuffle::<2, 3, 6, 7>(high, high2)),
            ]
        }
        pub fn array(self) -> [f32; 4] {
            [
                f32x4_extract_lane::<0>(self.0),
                f32x4_extract_lane::<1>(self.0),
                f32x4_extract_lane::<2>(self.0),
                f32x4_extract_lane::<3>(self.0),
            ]
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod platform {
    #[derive(Clone, Copy)]
    pub struct Vector([f32; 4]);

    impl Vector {
        pub fn new(values: [f32; 4]) -> Self {
            Self(values)
        }
        pub fn splat(value: f32) -> Self {
            Self([value; 4])
        }
        fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
            Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
        }
        pub fn add(self, other: Self) -> Self {
            self.zip(other, |a, b| a + b)
        }
        pub fn mul(self, other: Self) -> Self {
            self.zip(other, |a, b| a * b)
        }
        pub fn div(self, other: Self) -> Self {
            self.zip(other, |a, b| a / b)
        }
        pub fn max(self, other: Self) -> Self {
            self.zip(other, f32::max)
        }
        pub fn min(self, other: Self) -> Self {
            self.zip(other, f32::min)
        }
        /// The nearest whole number, from -2^22 to 2^22, and two to its power; this from -126 to 127.
        pub fn rounded(self) -> [Self; 2] {
            let shifted = self.0.map(|x| x + super::WHOLE);
            let power = |x: f32| f32::from_bits((x.to_bits() << 23).wrapping_add(127 << 23));
            [
                Self(shifted.map(|x| x - super::WHOLE)),
                Self(shifted.map(power)),
            ]
        }
        /// `self` where `x >= limit`, else 0.
        pub fn where_at_least(self, x: Self, limit: Self) -> Self {
            Self(std::array::from_fn(|i| {
                if x.0[i] >= limit.0[i] { self.0[i] } else { 0.0 }
            }))
        }
        /// Columns of four rows as rows.
        pub fn transposed(rows: [Self; 4]) -> [Self; 4] {
            std::array::from_fn(|i| Self(std::array::from_fn(|j| rows[j].0[i])))
        }
        pub fn array(self) -> [f32; 4] {
            self.0
        }
    }
}
