// A connection to a server without an HTTP library in between, and requests that do not end.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "server/server_fixture.h"

namespace orthorank::test {

// A client that sends what it likes and goes when it likes.
class RawClient {
 public:
    explicit RawClient(RunningServer &server) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<uint16_t>(server.http().port()));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr *>(&address), sizeof(address)), 0);
    }
    ~RawClient() { leave(); }
    void send(const std::string &bytes) const {
        EXPECT_EQ(::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(bytes.size()));
    }
    void post(const std::string &path, const nlohmann::json &body) const {
        const std::string text = body.dump();
        send("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
             "Content-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text);
    }
    // What comes until the other side has nothing more or closes.
    std::string receive() const {
        std::string bytes(1 << 16, '\0');
        const ssize_t n = ::recv(socket_, bytes.data(), bytes.size(), 0);
        bytes.resize(n > 0 ? static_cast<size_t>(n) : 0);
        return bytes;
    }
    void leave() {
        if (socket_ >= 0) {
            ::close(socket_);
        }
        socket_ = -1;
    }

 private:
    int socket_;
};

inline nlohmann::json endless(int n_prompt = 5) {
    return {{"prompt", random_tokens(n_prompt, 7)}, {"max_tokens", 100000}, {"temperature", 0}};
}

inline ServerSetting long_context() {
    ServerSetting setting;
    setting.n_ctx = 2048;
    return setting;
}
}  // namespace orthorank::test
