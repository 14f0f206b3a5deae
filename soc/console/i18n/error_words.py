"""Sentences of errors in Vietnamese, by their English template: `{name}` stands for what the error fills in.

A value is shown as it is; that of a name which ends with `_` is looked up itself. Which sentences have no entry is held
by tests/console/test_error_words.py.
"""

from __future__ import annotations

from collections.abc import Mapping

Sentences = Mapping[str, str]

REPEATED: Sentences = {
    "try again": "hãy thử lại",
    "try again in a moment": "hãy thử lại sau giây lát",
    "read it again and repeat the change": "đọc lại rồi thực hiện lại thay đổi",
    "plan again": "lập kế hoạch lại",
    "'{text}' is no address": "«{text}» không phải địa chỉ",
    "'{text}' is no time": "«{text}» không phải thời điểm",
    "'{text}' is no network": "«{text}» không phải dải mạng",
    "{kind_} '{id}' was changed by somebody else: version {found}, not {version}":
        "{kind_} «{id}» đã bị người khác thay đổi: phiên bản {found}, không phải {version}",
    "no {kind_} '{id}'": "không có {kind_} «{id}»",
    "one of {known}": "một trong {known}",
    "unknown state '{state}'; one of {known}": "không có trạng thái «{state}»; một trong {known}",
    "{what_}: no space left on the disk": "{what_}: ổ đĩa đã hết chỗ",
    "see docs/detections.md": "xem docs/detections.md",
    "the hub {why_}": "cổng nhận của trung tâm: {why_}",
}  # fmt: skip
PEOPLE: Sentences = {
    "'{name}' ({role}) may not {permission}: needs role {roles}":
        "«{name}» ({role}) không được phép {permission}: cần vai trò {roles}",
    "'{name}' ({role}) may not act as another person: needs role admin":
        "«{name}» ({role}) không được làm thay người khác: cần vai trò admin",
    "no person '{name}'": "không có người dùng «{name}»",
    "'{name}' is the last admin; make another one first": "«{name}» là admin cuối cùng; hãy tạo một admin khác trước",
    "'{name}' may not change their own access: needs another person with role admin":
        "«{name}» không được tự thay đổi quyền của mình: cần một người khác có vai trò admin",
    "wrong name or password": "sai tên hoặc mật khẩu",
    "a password has {least} to {most} characters": "mật khẩu có từ {least} đến {most} ký tự",
    "a password is Unicode text without lone surrogates": "mật khẩu phải là văn bản Unicode hợp lệ",
    "a token lives 1 to {most} days, not {days}": "mã truy cập có hạn từ 1 đến {most} ngày, không phải {days}",
    "'{name}' asked for this and may not approve it: needs another person with role {roles}":
        "«{name}» là người đề nghị nên không được tự duyệt: cần người khác có vai trò {roles}",
    "uid {uid} belongs to '{name}' already": "uid {uid} đã thuộc về «{name}»",
    "too many wrong passwords: locked for {minutes} more minutes":
        "nhập sai mật khẩu quá nhiều lần: bị khóa thêm {minutes} phút",
    "no token '{id}'": "không có mã truy cập «{id}»",
    "'{name}' is no name: small letters, digits, '.', '_', '-', at most 63, not 'engine'":
        "«{name}» không phải tên hợp lệ: chữ thường, chữ số, '.', '_', '-', tối đa 63 ký tự, không được là 'engine'",
    "unknown role '{role}'; one of {known}": "không có vai trò «{role}»; một trong {known}",
    "'{name}' needs at least one unit: role tier2-unit sees its own units only":
        "«{name}» cần ít nhất một đơn vị: vai trò tier2-unit chỉ thấy đơn vị của mình",
    "{uid} is no uid": "{uid} không phải uid",
    "the token is unknown, expired or revoked": "mã truy cập không đúng, đã hết hạn hoặc đã bị thu hồi",
    "an administrator issues a new one": "người quản trị cấp mã mới",
    "nobody is signed in": "chưa đăng nhập",
    "send Authorization: Bearer TOKEN, or use the Unix socket":
        "gửi Authorization: Bearer TOKEN, hoặc dùng socket Unix của máy này",
    "uid {uid} belongs to nobody the service knows": "dịch vụ không biết người dùng nào có uid {uid}",
    "an administrator adds you: soc person add NAME --role ROLE --uid {uid}":
        "người quản trị thêm bạn: soc person add TÊN --role VAI_TRÒ --uid {uid}",
    "acting as another person is for simulated sites only": "chỉ nơi mô phỏng mới cho làm thay người khác",
    "there is no person '{name}' to act as": "không có người dùng «{name}» để làm thay",
    "'{name}' sees their own units only; this is about all":
        "«{name}» chỉ thấy đơn vị của mình; việc này liên quan đến tất cả",
}  # fmt: skip
SERVICE: Sentences = {
    "the service is not running here": "dịch vụ không chạy ở đây",
    "soc up starts it, or give --url": "soc up khởi động dịch vụ, hoặc thêm --url",
    "may not connect to {where}": "không được phép kết nối tới {where}",
    "the socket's folder is closed to you; the service's administrator opens it":
        "bạn không vào được thư mục chứa socket; người quản trị dịch vụ mở quyền",
    "the certificate of {where} cannot be verified: {why}": "không xác minh được chứng thư của {where}: {why}",
    "SOC_CA names the file of the CA that signed it": "SOC_CA trỏ tới tệp của CA đã ký chứng thư đó",
    "the service at {where} did not answer in time": "dịch vụ tại {where} không trả lời kịp",
    "the connection to {where} broke: {why_}": "kết nối tới {where} bị ngắt: {why_}",
    "'{where}' is no address of a service: {why_}": "«{where}» không phải địa chỉ của dịch vụ: {why_}",
    "SOC_CA: {path} is no file of CA certificates: {why_}": "SOC_CA: {path} không phải tệp chứng thư CA: {why_}",
    "cannot read {path}: {why_}": "không đọc được {path}: {why_}",
    "{name} became shorter while it was sent": "{name} bị ngắn đi trong lúc gửi",
    "send a file that nobody writes to": "hãy gửi một tệp không ai đang ghi",
    "this is no answer of our API": "đây không phải câu trả lời của API soc",
    "is it the address of another service?": "có phải địa chỉ của một dịch vụ khác?",
    "the service made a mistake": "dịch vụ gặp lỗi bên trong",
    "its log says which": "nhật ký của dịch vụ cho biết lỗi gì",
    "no such path: {path}": "không có đường dẫn này: {path}",
    "GET /openapi.json describes the call": "GET /openapi.json mô tả lời gọi này",
    "GET /openapi.json lists them": "GET /openapi.json liệt kê các đường dẫn",
    "the body is longer than {limit} bytes": "nội dung gửi dài hơn {limit} byte",
    "a {method} has content type {json} or {octets}, not '{kind}'":
        "{method} có kiểu nội dung {json} hoặc {octets}, không phải «{kind}»",
    "Content-Length is no number": "Content-Length không phải số",
    "'{name}' is not a name of this service": "«{name}» không phải tên của dịch vụ này",
    "use {names}": "dùng {names}",
    "{most} streams are open already": "đã có {most} luồng đang mở",
    "close one, or try again in a moment": "đóng bớt một luồng, hoặc thử lại sau giây lát",
    "a service listens on {path} already": "đã có dịch vụ lắng nghe tại {path}",
    "stop it, or name another socket": "dừng dịch vụ đó, hoặc đặt socket khác",
    "[web] host = '{host}' without TLS: tokens would cross the network in clear":
        "[web] host = «{host}» không có TLS: mã truy cập sẽ đi qua mạng ở dạng rõ",
    "give [web] certificate and key as PEM files, or listen on 127.0.0.1 behind a proxy that speaks TLS":
        "đặt [web] certificate và key là tệp PEM, hoặc lắng nghe tại 127.0.0.1 sau một proxy có TLS",
    "[web] 'certificate' and 'key' go together, one is missing":
        "[web] 'certificate' và 'key' đi cùng nhau, còn thiếu một",
    "both are PEM files below SOC_HOME": "cả hai là tệp PEM trong SOC_HOME",
    "{folder} is no folder": "{folder} không phải thư mục",
    "a link could lead elsewhere; name the real folder": "liên kết có thể dẫn đi nơi khác; hãy nêu thư mục thật",
    "{path} belongs to uid {uid}": "{path} thuộc về uid {uid}",
    "who owns it could put a socket in our place": "chủ của nó có thể đặt một socket giả vào đó",
    "{folder} can be changed by others": "người khác có thể thay đổi {folder}",
    "chmod 755 it": "chạy chmod 755 cho thư mục đó",
    "{path} is no socket; it was left alone": "{path} không phải socket; đã để nguyên",
    "move it away, or name another path": "dời nó đi, hoặc đặt đường dẫn khác",
    "{home} is open to other users: {why_}": "người dùng khác vào được {home}: {why_}",
    "it belongs to uid {uid}; the service's own user has to own it":
        "nó thuộc về uid {uid}; phải thuộc về người dùng chạy dịch vụ",
    "cannot listen on {path}: {why_}": "không lắng nghe được tại {path}: {why_}",
    "cannot listen on {host} port {port}: {why_}": "không lắng nghe được tại {host} cổng {port}: {why_}",
    "cannot make the folder {folder}: {why_}": "không tạo được thư mục {folder}: {why_}",
    "{path} does not answer, but is not free: {why_}": "{path} không trả lời nhưng đang bị chiếm: {why_}",
    "cannot use {home}: {why_}": "không dùng được {home}: {why_}",
    "set SOC_HOME to a folder you own": "đặt SOC_HOME là thư mục của bạn",
    "soc is running already in {home}": "soc đang chạy trong {home}",
    "soc console opens it; or set another SOC_HOME": "soc console mở nó; hoặc đặt SOC_HOME khác",
    "no free port from {first} to {last} on {host}": "không có cổng trống từ {first} đến {last} trên {host}",
    "set [{section}] port in soc.toml": "đặt [{section}] port trong soc.toml",
    "{name} did not start: {why}": "{name} không khởi động được: {why}",
    "see logs/{name}.log in SOC_HOME": "xem logs/{name}.log trong SOC_HOME",
    "see logs/collect.log in SOC_HOME": "xem logs/collect.log trong SOC_HOME",
    "the collector did not answer within {seconds} s": "tiến trình thu thập không trả lời trong {seconds} giây",
    "no collector is running here": "không có tiến trình thu thập nào chạy ở đây",
    "soc up starts it": "soc up khởi động nó",
    "not reloaded, everything stays as it was: {why_}": "chưa nạp lại, mọi thứ giữ nguyên: {why_}",
    "another worker still has partition {number}": "tiến trình xử lý khác còn giữ phân vùng {number}",
    "workers of an earlier start must end first": "các tiến trình của lần chạy trước phải kết thúc trước",
    "those of an earlier start must end first": "các tiến trình của lần chạy trước phải kết thúc trước",
    "the state of the correlations is being shared out": "trạng thái tương quan đang được chia lại",
    "it is tried again": "hệ thống đang thử lại",
    "there is no correlator {index}: [detections] correlators = {number}":
        "không có tiến trình tương quan {index}: [detections] correlators = {number}",
    "the first one has the number 0": "tiến trình đầu tiên có số 0",
    "processes of another number than [detections] correlators = {number} still run":
        "còn tiến trình chạy với số khác [detections] correlators = {number}",
    "another process works off the lookbacks": "tiến trình khác đang chạy các tác vụ tra cứu lại",
    "[relay] url is not set": "chưa đặt [relay] url",
    "soc relay join URL TOKEN tries it; soc.toml keeps it": "soc relay join URL TOKEN để thử; soc.toml để lưu",
    "units call this port: free it, or change it here and in each unit's url ([relay] port = {port} now)":
        "các đơn vị gọi vào cổng này: giải phóng cổng, hoặc đổi ở đây và trong url của từng đơn vị "
        "([relay] port hiện là {port})",
    "no [poll.<name>] in soc.toml": "không có [poll.<tên>] trong soc.toml",
    "docs/poll.md shows one for each kind of source": "docs/poll.md có ví dụ cho từng loại nguồn",
    "soc sense IFACE --name NAME starts it again": "soc sense IFACE --name TÊN để chạy lại",
}  # fmt: skip
SETTINGS: Sentences = {
    "no such file": "không có tệp này",
    "soc config show prints the settings in use": "soc config show in các thiết lập đang dùng",
    "cannot be read: {why_}": "không đọc được: {why_}",
    "no UTF-8 text: {why} at byte {at}": "không phải văn bản UTF-8: {why} tại byte {at}",
    "no TOML: {why}": "không phải TOML: {why}",
    "unknown {what_}": "không có {what_}",
    "unknown setting '{name}'": "không có thiết lập «{name}»",
    "unknown key '{key}' in [{section}]": "không có khóa «{key}» trong [{section}]",
    "[{section}] should be a table, not {value}": "[{section}] phải là bảng, không phải {value}",
    "[{section}.{name}] should be a table, not {value}": "[{section}.{name}] phải là bảng, không phải {value}",
    "[poll.{name}] the name is taken by a listener or by uploads":
        "[poll.{name}] tên này đã dùng cho một đầu nhận hoặc cho tệp tải lên",
    "[sense.{name}] the name is taken by a listener or by uploads":
        "[sense.{name}] tên này đã dùng cho một đầu nhận hoặc cho tệp tải lên",
    "[sense.{name}] a name has letters, digits, '.', '_' and '-'":
        "[sense.{name}] tên chỉ gồm chữ cái, chữ số, '.', '_' và '-'",
    "[{name}] a name has letters, digits, '.', '_' and '-'": "[{name}] tên chỉ gồm chữ cái, chữ số, '.', '_' và '-'",
    "[listen.{name}] has {host} port {port} already": "[listen.{name}] đã dùng {host} cổng {port}",
    "'{key}' is missing in [{section}]": "thiếu «{key}» trong [{section}]",
    "'port' is missing in [{section}]": "thiếu 'port' trong [{section}]",
    "'{key}' should be {what_}, not {value_}": "«{key}» phải là {what_}, không phải {value_}",
    "[queue] 'low' should be below 'high', not {low} and {high}":
        "[queue] 'low' phải nhỏ hơn 'high', không phải {low} và {high}",
    "[listen.{name}] port {port} is no port": "[{name}] {port} không phải số cổng",
    "choose one from 1 to 65535": "chọn từ 1 đến 65535",
    "[listen.{name}] allow: {why}": "[listen.{name}] allow: {why}",
    "give addresses or CIDR networks": "ghi địa chỉ hoặc dải mạng CIDR",
    "[listen.{name}] cannot change while it runs": "[{name}] không đổi được khi đang chạy",
    "[listen.{name}] {host} port {port} belongs to the running [listen.{other}]":
        "[listen.{name}] {host} cổng {port} đang thuộc về [listen.{other}] đang chạy",
    "another name or another kind of protocol on the same port needs a restart of soc collect":
        "đổi tên hoặc đổi loại giao thức trên cùng một cổng thì phải khởi động lại soc collect",
    "[listen.{name}] users: {path} belongs to a running engine": "[listen.{name}] users: {path} đang được dùng",
    "[listen.{name}] users: another file is another engine": "[listen.{name}] users: tệp khác là bộ máy SNMP khác",
    "one more listener with the same users needs a restart of soc collect":
        "thêm đầu nhận cùng người dùng SNMP thì phải khởi động lại soc collect",
    "a [poll] section names {name}": "một mục [poll] có nêu {name}",
    "the environment variable {name} is not set": "biến môi trường {name} chưa được đặt",
    "a secret is file:PATH or env:NAME": "bí mật ghi dạng file:ĐƯỜNG_DẪN hoặc env:TÊN",
    "cannot read the secret {path}: {why_}": "không đọc được bí mật {path}: {why_}",
    "the secret {path} is no file": "bí mật {path} không phải tệp",
    "the secret {path} is no text": "bí mật {path} không phải văn bản",
    "the secret {path} should be one line of text": "bí mật {path} phải là một dòng văn bản",
    "others may read the secret {path}": "người khác đọc được bí mật {path}",
    "chmod 600 {path}": "chạy chmod 600 {path}",
    "other people may read these secrets": "người khác đọc được các bí mật này",
    "other people may read these tokens": "người khác đọc được các mã truy cập này",
    "[poll.{name}] a password may not travel to {peer} without TLS":
        "[poll.{name}] không được gửi mật khẩu tới {peer} khi không có TLS",
    "leave tls = 'verify'": "giữ tls = 'verify'",
    "[poll.{name}] a secret may not travel over http://{host}": "[poll.{name}] không được gửi bí mật qua http://{host}",
    "give an https:// url": "đặt url dạng https://",
    "[poll.{name}] a certificate cannot be read: {why_}": "[poll.{name}] không đọc được chứng thư: {why_}",
    "[poll.{name}] a header is no ASCII text": "[poll.{name}] một header không phải văn bản ASCII",
    "[poll.{name}] no user '{user}' in {path}": "[poll.{name}] không có người dùng «{user}» trong {path}",
    "check the community or user of this [poll] section": "kiểm tra community hoặc user trong mục [poll] này",
    "tokens stand in tables [[token]]": "mã truy cập nằm trong các bảng [[token]]",
    "users stand in tables [[user]]": "người dùng nằm trong các bảng [[user]]",
    "the tokens cannot be read: {why_}": "không đọc được tệp mã truy cập: {why_}",
    "the SNMPv3 users cannot be read: {why_}": "không đọc được tệp người dùng SNMPv3: {why_}",
    "more than {size} bytes of tokens": "tệp mã truy cập lớn hơn {size} byte",
    "more than {size} bytes of SNMPv3 users": "tệp người dùng SNMPv3 lớn hơn {size} byte",
    "no UTF-8 text": "không phải văn bản UTF-8",
    "no TOML at {place}": "không phải TOML tại {place}",
    "look at table, columns, key and time": "xem lại table, columns, key và time",
    "name a 'time' column too": "đặt thêm cột 'time'",
    "the key {value} is no whole number": "khóa {value} không phải số nguyên",
    "restart soc collect": "khởi động lại soc collect",
    "[listen.{name}] is still ending": "[{name}] đang kết thúc",
    "reload again in a moment": "nạp lại sau giây lát",
    "check the address of the listener": "kiểm tra địa chỉ của đầu nhận",
    "{place}: the port is taken": "{place}: cổng đã có chương trình khác dùng",
    "stop the other program, or choose another port": "dừng chương trình kia, hoặc chọn cổng khác",
    "{place}: permission denied; ports below 1024 need the right to bind them":
        "{place}: không đủ quyền; cổng dưới 1024 cần quyền riêng để mở",
    "give the service CAP_NET_BIND_SERVICE, or choose a port from 1024 up, such as 5514":
        "cấp CAP_NET_BIND_SERVICE cho dịch vụ, hoặc chọn cổng từ 1024 trở lên, ví dụ 5514",
    "[listen.{name}] product: no parser '{product}'": "[{name}] product: không có bộ phân tích «{product}»",
    "parsers/ has one file for each; a site's own lie in [content] roots":
        "parsers/ có một tệp cho mỗi bộ; bộ riêng của đơn vị nằm trong [content] roots",
    "{place} {protocol} needs 'certificate' and 'key'": "{place} {protocol} cần 'certificate' và 'key'",
    "give both as PEM files": "đặt cả hai là tệp PEM",
    "{place} certificate {certificate} with key {key} cannot be used: {why_}":
        "{place} không dùng được chứng thư {certificate} với khóa {key}: {why_}",
    "both are PEM files that the service may read, and belong together":
        "cả hai là tệp PEM mà dịch vụ đọc được, và phải khớp nhau",
    "{place} 'clients' needs 'clients_ca'": "{place} 'clients' cần 'clients_ca'",
    "name the CA file that signed them": "nêu tệp của CA đã ký các chứng thư đó",
    "{place} clients_ca {path} cannot be used: {why_}": "{place} không dùng được clients_ca {path}: {why_}",
    "give a PEM file of the CA": "đặt tệp PEM của CA",
    "unknown language '{name}'; one of {known}": "không có ngôn ngữ «{name}»; một trong {known}",
    "unknown legal profile '{profile}'; one of {known}": "không có bộ quy định «{profile}»; một trong {known}",
    "no retention profile '{profile}'; one of {known}": "không có bộ quy định lưu giữ «{profile}»; một trong {known}",
    "no parser '{product}'": "không có bộ phân tích «{product}»",
}  # fmt: skip
"""Faults in soc.toml; what a value should be is in `VALUES`."""
VALUES: Sentences = {
    "text": "văn bản",
    "text that is not empty": "văn bản không rỗng",
    "true or false": "true hoặc false",
    "a path": "một đường dẫn",
    "a list of paths": "danh sách đường dẫn",
    "an absolute path": "đường dẫn tuyệt đối",
    "a list of texts that are not empty": "danh sách văn bản không rỗng",
    "a list of times such as '22:00-05:00'": "danh sách khoảng giờ như '22:00-05:00'",
    "'stack' or a pattern of RE2 ({why})": "'stack' hoặc một mẫu RE2 ({why})",
    "a list of choices such as 'status=experimental', 'tag=attack.t1059*', 'level=low' or an id":
        "danh sách lựa chọn như 'status=experimental', 'tag=attack.t1059*', 'level=low' hoặc mã luật",
    "a list of choices such as 'status=experimental', 'tag=attack.t1059*', 'level=low' or an id ({why})":
        "danh sách lựa chọn như 'status=experimental', 'tag=attack.t1059*', 'level=low' hoặc mã luật ({why})",
    "a time zone such as Asia/Ho_Chi_Minh": "múi giờ như Asia/Ho_Chi_Minh",
    "a list of addresses or CIDR networks": "danh sách địa chỉ hoặc dải mạng CIDR",
    "a list of addresses or CIDR networks ('{item}' is none)":
        "danh sách địa chỉ hoặc dải mạng CIDR («{item}» không phải)",
    "a table of networks, each with a number of records a second, or with that and a burst: [500, 5000]":
        "bảng các dải mạng, mỗi dải có số bản ghi mỗi giây, hoặc thêm mức bùng phát: [500, 5000]",
    "a table of networks, each with a number of records a second, or with that and a burst: [500, 5000] "
    "('{network}' has {given})":
        "bảng các dải mạng, mỗi dải có số bản ghi mỗi giây, hoặc thêm mức bùng phát: [500, 5000] "
        "(«{network}» có {given})",
    "an https:// address": "địa chỉ https://",
    "an https:// address without a user or password in it": "địa chỉ https:// không kèm người dùng hay mật khẩu",
    "a host name or an address": "tên máy hoặc địa chỉ",
    "a port number from 0 to 65535": "số cổng từ 0 đến 65535",
    "a percentage from 1 to 100": "tỷ lệ phần trăm từ 1 đến 100",
    "a number of seconds": "số giây",
    "a number of seconds from 0.05 up": "số giây từ 0.05 trở lên",
    "a number of seconds from 1 to 3600": "số giây từ 1 đến 3600",
    "a number of seconds from 60": "số giây từ 60 trở lên",
    "a number of bytes from 64 to 262144": "số byte từ 64 đến 262144",
    "a number of KiB a second": "số KiB mỗi giây",
    "a whole number of bytes above 0": "số byte nguyên lớn hơn 0",
    "a whole number of MiB from 64": "số MiB nguyên từ 64 trở lên",
    "a whole number of days from 0 to 400": "số ngày từ 0 đến 400",
    "a whole number of records from 0 (no limit) to 10000000": "số bản ghi từ 0 (không giới hạn) đến 10000000",
    "a whole number from {least} to {most}": "số nguyên từ {least} đến {most}",
    "536870912 bytes (512 MiB) or more": "từ 536870912 byte (512 MiB) trở lên",
    "0, or 67108864 bytes (64 MiB) or more": "0, hoặc từ 67108864 byte (64 MiB) trở lên",
    "postgresql://user@host:port/database (without a password in it) or sqlite:///path":
        "postgresql://user@host:port/database (không kèm mật khẩu) hoặc sqlite:///path",
    "names joined by dots, such as data.items": "các tên nối bằng dấu chấm, như data.items",
    "now, beginning or a time such as 2026-11-01T00:00:00Z": "now, beginning hoặc thời điểm như 2026-11-01T00:00:00Z",
    "file:PATH or env:NAME, never the secret itself": "file:ĐƯỜNG_DẪN hoặc env:TÊN, không ghi bí mật trực tiếp",
    'a table of texts, such as {Authorization = "file:poll/cloud.header"}':
        'bảng văn bản, như {Authorization = "file:poll/cloud.header"}',
    "a table of headers ('{name}' is no header name)": "bảng header («{name}» không phải tên header)",
    "a table in which '{name}' is file:PATH or env:NAME, never the secret itself":
        "bảng trong đó «{name}» là file:ĐƯỜNG_DẪN hoặc env:TÊN, không ghi bí mật trực tiếp",
    "a table": "một bảng",
    "a list of FIELD=value": "danh sách TRƯỜNG=giá_trị",
    "a list of host:port": "danh sách máy:cổng",
    "a list of {known}, not {given}": "danh sách gồm {known}, không phải {given}",
    'a table of identifiers by name, such as {sessions = "1.3.6.1.4.1.12356.101.4.1.8.0"}':
        'bảng định danh (OID) theo tên, như {sessions = "1.3.6.1.4.1.12356.101.4.1.8.0"}',
    "a table of identifiers ('{name}' is none: numbers and dots)":
        "bảng định danh (OID) («{name}» không phải: chỉ gồm số và dấu chấm)",
    "a name such as vendor.product, of a-z, 0-9 and dots": "tên như hang.san_pham, gồm a-z, 0-9 và dấu chấm",
    "'paths' is missing in [{section}]: which files?": "thiếu 'paths' trong [{section}]: những tệp nào?",
    "'{key}' has no meaning in [{section}]: files are followed, nothing is listened to":
        "«{key}» không có nghĩa trong [{section}]: ở đây theo dõi tệp, không lắng nghe",
    "'{key}' in [{section}] goes with protocol = \"file\"": "«{key}» trong [{section}] chỉ đi với protocol = \"file\"",
    "'multiline' in [{section}] goes with files, syslog and RELP":
        "'multiline' trong [{section}] chỉ đi với tệp, syslog và RELP",
    "'{key}' is missing in [{section}]: {protocol} speaks TLS": "thiếu «{key}» trong [{section}]: {protocol} dùng TLS",
    "[{section}] {protocol} does not speak TLS; did you mean '{other}'?":
        "[{section}] {protocol} không dùng TLS; có phải «{other}»?",
    "'clients' in [{section}] needs 'clients_ca', the CA that signed their certificates":
        "'clients' trong [{section}] cần 'clients_ca', CA đã ký chứng thư của họ",
    "what stands there": "nội dung đang ghi ở đó",
    "section": "mục", "setting": "thiết lập", "alert": "cảnh báo", "ticket": "phiếu", "run": "lượt chạy",
    "person": "người dùng", "hold": "lệnh lưu giữ", "plan": "kế hoạch", "system": "hệ thống", "event": "sự kiện",
    "rule": "luật", "filter": "bộ lọc", "exception": "ngoại lệ", "finding": "phát hiện", "message": "thông điệp",
}  # fmt: skip
PARTS: Sentences = {
    "the service answered {status}": "dịch vụ trả lời {status}",
    "section [{name}]": "mục [{name}]",
    "key '{name}' outside of a section": "khóa «{name}» nằm ngoài các mục",
    "[{name}] {what_}": "[{name}] {what_}",
    "cannot write {what_}": "không ghi được {what_}",
    "cannot write {what_}: {why_}": "không ghi được {what_}: {why_}",
    "the counters {path}": "bộ đếm {path}",
    "the offsets {path}": "vị trí đã đọc {path}",
    "approved": "duyệt", "recorded as done by hand": "ghi nhận là làm tay",
    "write": "ghi", "open": "mở",
    "alert '{id}' is {status_} by {owner}": "cảnh báo «{id}» đang ở trạng thái {status_}, người giữ: {owner}",
    "a ticket is closed with a resolution; one of {known}": "đóng phiếu phải có kết quả xử lý; một trong {known}",
    "a ticket is closed with a reason": "đóng phiếu phải nêu lý do",
    "a ticket that is {state_} cannot be closed as resolved: it was not contained, eradicated and recovered":
        "phiếu đang ở trạng thái {state_} chưa thể đóng là đã giải quyết: chưa cô lập, loại bỏ và khôi phục",
}  # fmt: skip
"""What other modules than those that raise it put together."""
TYPED: Sentences = {
    "No such command '{name}'.": "Không có lệnh «{name}».",
    "No such command '{name}'. Did you mean {other}?": "Không có lệnh «{name}». Có phải {other}?",
    "No such option: {name}": "Không có tùy chọn {name}",
    "No such option: {name} (Possible options: {known})": "Không có tùy chọn {name} (có thể là: {known})",
    "No such option: {name} Did you mean {other}?": "Không có tùy chọn {name}. Có phải {other}?",
    "Missing command.": "Thiếu lệnh.",
    "Missing argument '{name}'.": "Thiếu đối số «{name}».",
    "Missing option '{name}'.": "Thiếu tùy chọn «{name}».",
    "Option '{name}' requires an argument.": "Tùy chọn «{name}» cần một giá trị.",
    "Option '{name}' does not take a value.": "Tùy chọn «{name}» không nhận giá trị.",
    "Got unexpected extra argument(s) ({words})": "Thừa đối số ({words})",
    "Invalid value for {name}: {why_}": "Giá trị của {name} không hợp lệ: {why_}",
    "Invalid value: {why_}": "Giá trị không hợp lệ: {why_}",
    "Input should be a valid integer, unable to parse string as an integer": "phải là số nguyên",
    "Input should be a valid number, unable to parse string as a number": "phải là số",
    "Input should be greater than or equal to {least}": "phải từ {least} trở lên",
    "Input should be less than or equal to {most}": "phải từ {most} trở xuống",
}  # fmt: skip
"""What Typer says of a command line."""
SYSTEM: Sentences = {
    "[Errno {number}] {why_}": "{why_} (errno {number})",
    "[Errno {number}] {why_}: '{path}'": "{why_}: «{path}» (errno {number})",
    "Permission denied": "không đủ quyền",
    "Operation not permitted": "thao tác không được phép",
    "No such file or directory": "không có tệp hoặc thư mục này",
    "Not a directory": "không phải thư mục",
    "Is a directory": "là thư mục, không phải tệp",
    "File exists": "tệp đã có",
    "Directory not empty": "thư mục không rỗng",
    "No space left on device": "ổ đĩa đã hết chỗ",
    "Disk quota exceeded": "đã dùng hết hạn mức ổ đĩa",
    "Read-only file system": "hệ thống tệp chỉ cho đọc",
    "Input/output error": "lỗi vào/ra của thiết bị",
    "Too many open files": "mở quá nhiều tệp",
    "File name too long": "tên tệp quá dài",
    "Cannot allocate memory": "không đủ bộ nhớ",
    "Address already in use": "địa chỉ đã có chương trình khác dùng",
    "Cannot assign requested address": "máy này không có địa chỉ đó",
    "Connection refused": "bị từ chối kết nối",
    "Connection reset by peer": "bên kia ngắt kết nối",
    "Connection timed out": "kết nối quá thời gian chờ",
    "Network is unreachable": "không có đường tới mạng",
    "No route to host": "không có đường tới máy",
    "Broken pipe": "bên nhận đã đóng",
}  # fmt: skip
"""What the operating system says (`os.strerror`)."""
