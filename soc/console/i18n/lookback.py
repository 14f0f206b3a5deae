"""The words of going back: backtests, hunts, and what was held against which rule."""

from __future__ import annotations

from soc.console.i18n import Catalogue

LOOKBACK: Catalogue = {
    "cmd.col.alerts_a_day": ("Cảnh báo/ngày", "Alerts a day"),
    "cmd.col.both": ("Cả hai", "Both"),
    "cmd.col.cost": ("Chi phí", "Cost"),
    "cmd.col.event": ("Sự kiện cuối", "Last event"),
    "cmd.col.excepted": ("Được miễn trừ", "Excepted"),
    "cmd.col.hits": ("Lần khớp", "Hits"),
    "cmd.col.only_new": ("Chỉ bản mới", "Only new"),
    "cmd.col.only_old": ("Chỉ bản đang dùng", "Only current"),
    "cmd.col.precision": ("Độ chính xác", "Precision"),
    "cmd.col.precision_new": ("Độ chính xác (mới)", "Precision, new"),
    "cmd.col.precision_old": ("Độ chính xác (đang dùng)", "Precision, current"),
    "cmd.col.sought": ("Tìm gì", "Sought"),
    "cmd.backfill": ("Tự động bù", "Made up for unasked"),
    "cmd.backfill.off": ("tắt ([lookback] backfill_days = 0)", "off ([lookback] backfill_days = 0)"),
    "cmd.backfill.none": ("chưa phải bù gì", "nothing so far"),
    "cmd.backfill.job": (
        "{state}: tác vụ {job}, {at}/{slices} phần, khớp {hits}",
        "{state}: job {job}, {at} of {slices} slices, {hits} hits",
    ),
    "cmd.backfill.rests": ("thử lại từ {until}", "tried again from {until} on"),
    "cmd.coverage.begins": ("Sổ bắt đầu", "The ledger begins"),
    "cmd.coverage.gaps": ("Khoảng trống", "Gaps"),
    "cmd.coverage.whole": (
        "{rules} luật × {windows} khoảng {minutes} phút", "{rules} rules × {windows} windows of {minutes} minutes",
    ),
    "cmd.coverage.evaluated": ("Đã đánh giá", "Evaluated"),
    "cmd.coverage.late": ("Chậm", "Late"),
    "cmd.coverage.skipped": ("Bị bỏ qua", "Skipped"),
    "cmd.coverage.failed": ("Lỗi", "Failed"),
    "cmd.coverage.backfilled": ("Đã bù", "Backfilled"),
    "cmd.coverage.not_loaded": ("luật chưa được nạp", "the rule was not there"),
    "cmd.coverage.not_searched": ("việc so khớp bị lỗi", "the matching broke"),
    "cmd.coverage.uncounted": ("sự kiện không đi qua tiến trình so khớp", "events came past the worker"),
    "cmd.coverage.waiting": ("còn chờ xử lý", "still waits"),
    "cmd.coverage.rule_broke": ("luật bị lỗi trên sự kiện", "the rule broke on events"),
    "cmd.coverage.behind": ("sự kiện đến quá muộn", "events came too late"),
    "cmd.coverage.given_up": (
        "đã bù nhiều lần, luật vẫn lỗi: cần sửa luật", "made up for in vain: the rule breaks and needs mending",
    ),
    "cmd.lookback.waiting": ("Đang chờ", "Waiting"),
    "cmd.lookback.running": ("Đang chạy", "Running"),
    "cmd.lookback.done": ("Xong", "Done"),
    "cmd.lookback.cancelled": ("Đã dừng", "Cancelled"),
    "cmd.lookback.failed": ("Thất bại", "Failed"),
    "cmd.lookback.against": (
        "--against nhận 'current', không phải '{text}'", "--against takes 'current', not '{text}'",
    ),
    "cmd.lookback.broke": (
        "Luật {rule} ({side}) bị lỗi ở {events} sự kiện: kết quả của luật này chưa đủ",
        "Rule {rule} ({side}) broke on {events} events: its figures are not all",
    ),
    "cmd.lookback.cancelling": ("Tác vụ {job} sẽ dừng, giữ lại kết quả đã có", "Job {job} ends with what it has"),
    "cmd.lookback.cost": ("{events} sự kiện, {cpu} giây CPU, {bytes}", "{events} events, {cpu} CPU seconds, {bytes}"),
    "cmd.lookback.day": ("{hits} lần khớp, {alerts} cảnh báo", "{hits} hits, {alerts} alerts"),
    "cmd.lookback.days": ("Theo ngày (UTC)", "By day (UTC)"),
    "cmd.lookback.diff": ("Bản mới so với bản đang dùng", "New against current"),
    "cmd.lookback.entities": ("Đối tượng khớp nhiều nhất", "Entities with most hits"),
    "cmd.lookback.found": (
        "Hiển thị {shown} trong {total}; soc job hits {job} --limit N để xem thêm",
        "Showing {shown} of {total}; soc job hits {job} --limit N shows more",
    ),
    "cmd.lookback.goes_on": (
        "Tác vụ {job} vẫn chạy: soc job show {job}, soc job cancel {job}",
        "Job {job} goes on: soc job show {job}, soc job cancel {job}",
    ),
    "cmd.lookback.left_out": ("Tương quan không tính ({side}): {what}", "Correlations left out ({side}): {what}"),
    "cmd.lookback.looking": ("Đã khớp {hits}", "{hits} hits"),
    "cmd.lookback.partial": (
        "{state}: mới xem {seen} trong {total} sự kiện; các số liệu chưa đủ",
        "{state}: {seen} of {total} events were looked at; the figures are not all",
    ),
    "cmd.lookback.stuck": (
        "Không có tiến triển trong {seconds} giây; soc lookback có đang chạy không?",
        "No progress for {seconds} s; is soc lookback running?",
    ),
    "cmd.lookback.too_long": ("Các luật dài hơn {size}", "The rules are longer than {size}"),
}  # fmt: skip
