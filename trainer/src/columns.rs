//! Events as columns of a Parquet file.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{
    DataType, Int64Type, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt32Type, UInt64Type,
};
use bytes::Bytes;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serin_core::movielog::{Action, Answer, Malformed};

use crate::dataset::Record;

/// Why events could not become columns, or columns events.
#[derive(Debug, thiserror::Error)]
pub enum ColumnError {
    /// The columns do not fit together.
    #[error("the columns do not fit together")]
    Arrow(#[source] arrow::error::ArrowError),
    /// The file is no Parquet file, or a damaged one.
    #[error("this is no readable Parquet file")]
    Parquet(#[source] parquet::errors::ParquetError),
    /// A column is missing or has another type.
    #[error("there is no column {column} of type {wanted}")]
    Column {
        /// Its name.
        column: &'static str,
        /// Its type.
        wanted: DataType,
    },
}

/// What kind of event a row is; the values of column `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One minute of a film was streamed.
    Watch,
    /// A film was rated.
    Rate,
    /// A team was asked for recommendations.
    Recommendation,
    /// A user was created.
    CreateAccount,
}

impl Kind {
    /// The kind of an action.
    pub fn of(action: &Action) -> Self {
        match action {
            Action::Watch { .. } => Self::Watch,
            Action::Rate { .. } => Self::Rate,
            Action::Recommendation { .. } => Self::Recommendation,
            Action::CreateAccount => Self::CreateAccount,
        }
    }

    /// Stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Rate => "rate",
            Self::Recommendation => "recommendation",
            Self::CreateAccount => "create_account",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Watch, Self::Rate, Self::Recommendation, Self::CreateAccount]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// The part of an event that training reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Offset in the partition.
    pub offset: i64,
    /// Event time in microseconds since 1970, as if the stream's clock were UTC.
    pub time_us: i64,
    /// The viewer.
    pub user: u32,
    /// What kind of event.
    pub kind: Kind,
    /// The film of a watch or rating.
    pub movie: Option<String>,
    /// Minute of a watch, stars of a rating, milliseconds of a recommendation.
    pub value: u64,
}

impl Row {
    /// What training would read back of `record`.
    pub fn of(record: &Record) -> Self {
        let (movie, value) = match &record.event.action {
            Action::Watch { movie, minute } => (Some(movie), u64::from(*minute)),
            Action::Rate { movie, rating } => (Some(movie), u64::from(*rating)),
            Action::Recommendation { millis, .. } => (None, *millis),
            Action::CreateAccount => (None, 0),
        };
        Self {
            offset: record.offset,
            time_us: microseconds(record.event.time),
            user: record.event.user,
            kind: Kind::of(&record.event.action),
            movie: movie.map(|movie| movie.as_str().to_owned()),
            value,
        }
    }
}

/// A Parquet file of the records. Equal records give equal bytes.
///
/// `time` has no zone, as the stream has none, and microseconds; the nanoseconds of one term's recommendation lines
/// are cut.
///
/// # Errors
/// [`ColumnError`]; none is known to occur.
pub fn encode(records: &[Record]) -> Result<Bytes, ColumnError> {
    let batch = batch(records).map_err(ColumnError::Arrow)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(parquet::basic::ZstdLevel::default()))
        .build();
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).map_err(ColumnError::Parquet)?;
    writer.write(&batch).map_err(ColumnError::Parquet)?;
    writer.close().map_err(ColumnError::Parquet)?;
    Ok(Bytes::from(bytes))
}

fn batch(records: &[Record]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let rows: Vec<Row> = records.iter().map(Row::of).collect();
    let rows = || rows.iter();
    let value_of = |kind| rows().map(move |row| (row.kind == kind).then_some(row.value));
    let minutes = value_of(Kind::Watch).map(|value| value.and_then(|v| u32::try_from(v).ok()));
    let stars = value_of(Kind::Rate).map(|value| value.and_then(|v| u8::try_from(v).ok()));
    let answers = || records.iter().map(|record| answer(&record.event.action));
    let servers = answers().map(|answer| answer.map(|(server, ..)| server));
    let results = answers().map(|answer| answer.map(|(.., result)| result.to_string()));
    let recorded: TimestampMillisecondArray = records.iter().map(|record| record.recorded_ms).collect();
    let repairs = records
        .iter()
        .map(|record| record.repaired.map(Malformed::reason));
    let columns = [
        (
            "offset",
            array::<Int64Array, _>(rows().map(|row| Some(row.offset))),
            false,
        ),
        ("recorded", Arc::new(recorded.with_timezone("UTC")), true),
        (
            "time",
            array::<TimestampMicrosecondArray, _>(rows().map(|row| Some(row.time_us))),
            false,
        ),
        (
            "user",
            array::<UInt32Array, _>(rows().map(|row| Some(row.user))),
            false,
        ),
        (
            "kind",
            array::<StringArray, _>(rows().map(|row| Some(row.kind.name()))),
            false,
        ),
        (
            "movie",
            array::<StringArray, _>(rows().map(|row| row.movie.as_deref())),
            true,
        ),
        ("minute", array::<UInt32Array, _>(minutes), true),
        ("rating", array::<UInt8Array, _>(stars), true),
        ("server", array::<StringArray, _>(servers), true),
        (
            "status",
            array::<UInt16Array, _>(answers().map(|answer| answer.map(|(_, status, _)| status))),
            true,
        ),
        ("result", array::<StringArray, _>(results), true),
        (
            "millis",
            array::<UInt64Array, _>(value_of(Kind::Recommendation)),
            true,
        ),
        ("repaired", array::<StringArray, _>(repairs), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns)
}

fn array<A: Array + FromIterator<Option<T>> + 'static, T>(
    values: impl Iterator<Item = Option<T>>,
) -> ArrayRef {
    Arc::new(values.collect::<A>())
}

fn answer(action: &Action) -> Option<(&str, u16, &Answer)> {
    match action {
        Action::Recommendation {
            server,
            status,
            answer,
            ..
        } => Some((server, *status, answer)),
        Action::Watch { .. } | Action::Rate { .. } | Action::CreateAccount => None,
    }
}

/// The rows of a Parquet file that [`encode`] wrote, in its order. A row of a kind unknown here is passed over.
///
/// # Errors
/// [`ColumnError`] for any other file.
pub fn decode(bytes: Bytes) -> Result<Vec<Row>, ColumnError> {
    const READ: [&str; 8] = [
        "offset", "time", "user", "kind", "movie", "minute", "rating", "millis",
    ];
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(ColumnError::Parquet)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), READ);
    let mut rows = Vec::new();
    for batch in builder
        .with_projection(mask)
        .build()
        .map_err(ColumnError::Parquet)?
    {
        decode_batch(&batch.map_err(ColumnError::Arrow)?, &mut rows)?;
    }
    Ok(rows)
}

fn decode_batch(batch: &RecordBatch, rows: &mut Vec<Row>) -> Result<(), ColumnError> {
    let offset = column(batch, "offset", DataType::Int64)?.as_primitive::<Int64Type>();
    let time = column(batch, "time", DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let time = time.as_primitive::<TimestampMicrosecondType>();
    let user = column(batch, "user", DataType::UInt32)?.as_primitive::<UInt32Type>();
    let kind = column(batch, "kind", DataType::Utf8)?.as_string::<i32>();
    let movie = column(batch, "movie", DataType::Utf8)?.as_string::<i32>();
    let minute = column(batch, "minute", DataType::UInt32)?.as_primitive::<UInt32Type>();
    let rating = column(batch, "rating", DataType::UInt8)?.as_primitive::<UInt8Type>();
    let millis = column(batch, "millis", DataType::UInt64)?.as_primitive::<UInt64Type>();
    for at in 0..batch.num_rows() {
        let Some(kind) = Kind::named(kind.value(at)) else {
            continue;
        };
        let value = match kind {
            Kind::Watch => u64::from(minute.value(at)),
            Kind::Rate => u64::from(rating.value(at)),
            Kind::Recommendation => millis.value(at),
            Kind::CreateAccount => 0,
        };
        rows.push(Row {
            offset: offset.value(at),
            time_us: time.value(at),
            user: user.value(at),
            kind,
            movie: movie.is_valid(at).then(|| movie.value(at).to_owned()),
            value,
        });
    }
    Ok(())
}

fn column<'a>(
    batch: &'a RecordBatch,
    name: &'static str,
    wanted: DataType,
) -> Result<&'a ArrayRef, ColumnError> {
    let found = batch
        .column_by_name(name)
        .filter(|column| *column.data_type() == wanted);
    found.ok_or(ColumnError::Column { column: name, wanted })
}

fn microseconds(time: DateTime) -> i64 {
    time.to_zoned(TimeZone::UTC)
        .map_or(i64::MIN, |zoned| zoned.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_core::movielog::Grammar;

    fn records() -> Vec<Record> {
        let lines = [
            "2022-11-14T12:24,232596,GET /data/m/fight+club+1999/128.mpg",
            "2022-11-14T12:23:46,276828,GET /rate/the+fighter+2010=4",
            "2022-11-14T12:23:45.081,676804,recommendation request h:8082, status 200, result: a+1, b+2, 58 ms",
            "2022-11-14T12:23:45.081,5,recommendation request h:8082, status 0, result: refused: h/1:8082, 818 ms",
            "2022-11-14T12:23:46,276828,GET /create_account",
            "2022-11-14T12:23:46,276828,GET /rate/the+fi ghter+2010=4",
        ];
        let parsed = lines
            .iter()
            .map(|line| Grammar::default().parse(line.as_bytes(), None).unwrap());
        (0..)
            .zip(parsed)
            .map(|(offset, p)| Record {
                offset,
                recorded_ms: Some(offset),
                event: p.event,
                repaired: p.repaired,
            })
            .collect()
    }

    #[test]
    fn rows_survive_the_way_through_parquet() {
        let records = records();
        let rows: Vec<Row> = records.iter().map(Row::of).collect();
        assert_eq!(decode(encode(&records).unwrap()).unwrap(), rows);
        assert_eq!(rows[0].movie.as_deref(), Some("fight+club+1999"));
        assert_eq!((rows[0].value, rows[1].value, rows[2].value), (128, 4, 58));
    }

    #[test]
    fn a_span_without_events_is_a_file_without_rows() {
        assert_eq!(decode(encode(&[]).unwrap()).unwrap(), []);
    }

    #[test]
    fn equal_records_give_equal_bytes() {
        assert_eq!(encode(&records()).unwrap(), encode(&records()).unwrap());
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let whole = encode(&records()).unwrap();
        assert!(matches!(
            decode(whole.slice(..whole.len() - 9)),
            Err(ColumnError::Parquet(_))
        ));
        assert!(matches!(
            decode(Bytes::from_static(b"PAR1")),
            Err(ColumnError::Parquet(_))
        ));
    }
}
